package vm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Mistake is one thing that is wrong in a definition.
type Mistake struct {
	// File is the definition's file as it was named to [Load]. It is empty
	// for a Config that was made in Go.
	File string

	// Line and Column say where in File, from 1, in bytes. They are zero when
	// the place is not known.
	Line, Column int

	// Key is the key, as in "volumes[1].size". It is empty when the file
	// could not be read as TOML or JSON at all.
	Key string

	// Text says what is wrong and Hint what to do about it, if Text does not.
	Text, Hint string

	// Excerpt shows the place: a line of File and under it a marker, each
	// ended by a newline. It is empty when the place is not known.
	Excerpt string

	// NotYet says that the definition is right and that it is this version
	// of mvm that does not carry it out.
	NotYet bool
}

// Error returns one line: the place, the key and the text.
func (m *Mistake) Error() string {
	var b strings.Builder
	if m.File != "" {
		b.WriteString(m.File)
		if m.Line > 0 {
			fmt.Fprintf(&b, ":%d", m.Line)
		}
		b.WriteString(": ")
	}
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	b.WriteString(m.Text)
	return b.String()
}

// A DefinitionError is everything that is wrong in a definition, in the order
// of the file.
type DefinitionError struct {
	Mistakes []*Mistake // never empty
}

// shownMistakes bounds what Error prints: more would only hide the first ones.
const shownMistakes = 50

// Error returns every mistake with its excerpt and its hint, on several lines.
func (e *DefinitionError) Error() string {
	var b strings.Builder
	if n := len(e.Mistakes); n > 1 {
		fmt.Fprintf(&b, "%s has %d mistakes\n", cmp.Or(e.Mistakes[0].File, "the definition"), n)
	}
	for i, m := range e.Mistakes {
		if i == shownMistakes {
			fmt.Fprintf(&b, "and %d more\n", len(e.Mistakes)-i)
			break
		}
		b.WriteString(m.Error() + "\n" + m.Excerpt)
		if m.Hint != "" {
			b.WriteString("  hint: " + m.Hint + "\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Unwrap returns the mistakes.
func (e *DefinitionError) Unwrap() []error {
	errs := make([]error, len(e.Mistakes))
	for i, m := range e.Mistakes {
		errs[i] = m
	}
	return errs
}

// definitionError returns the mistakes as an error in the order of the file,
// or nil if there are none.
func definitionError(mistakes []*Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(mistakes, func(a, b *Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &DefinitionError{Mistakes: mistakes}
}
