package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// What a shell offers for NAME: see "mvm completion". The shell drops what does not
// begin as the word does.

// completeDefinition offers the definitions that a name can mean, and files.
func (e env) completeDefinition(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.definitions(), cobra.ShellCompDirectiveDefault
}

// completeRunning offers the machines that run.
func (e env) completeRunning(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return e.runningNames(), cobra.ShellCompDirectiveNoFileComp
}

// completeKnown offers the machines that run or have run.
func (e env) completeKnown(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	dirs, err := e.dirs()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := dirs.Known()
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeKnownMany is completeKnown for commands that take several.
func (e env) completeKnownMany(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	names, d := e.completeKnown(cmd, nil, word)
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) }), d
}

// completeStartable offers the machines that run and those that could.
func (e env) completeStartable(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := append(e.definitions(), e.runningNames()...)
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveDefault
}

// completeCp offers the machines that run, with a colon, beside local files.
func (e env) completeCp(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if len(args) == 1 && parseEnd(args[0]).machine != "" || strings.ContainsAny(toComplete, "./") {
		return nil, cobra.ShellCompDirectiveDefault // the other side is this host
	}
	names := e.runningNames()
	for i := range names {
		names[i] += ":"
	}
	return names, cobra.ShellCompDirectiveNoSpace
}

// definitions are the names of all definitions, sorted.
func (e env) definitions() []string {
	var names []string
	for _, dir := range e.definitionDirs() {
		for _, ext := range []string{".toml", ".json"} {
			found, _ := filepath.Glob(filepath.Join(dir, "*"+ext))
			for _, f := range found {
				names = append(names, strings.TrimSuffix(filepath.Base(f), ext))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// runningNames are the machines that seem to run. They are not asked: a word is
// to be completed at once.
func (e env) runningNames() []string {
	dirs, err := e.dirs()
	if err != nil {
		return nil
	}
	names, _ := dirs.Names()
	return names
}
