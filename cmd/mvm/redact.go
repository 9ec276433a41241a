package main

import (
	"regexp"
	"strings"
)

// What is not to be given away, wherever it stands. Each pattern keeps its first
// group. That too much is left out is better than too little: no file of a bundle
// is read by a program.
var secrets = []*regexp.Regexp{
	// NAME = VALUE, for a name that tells.
	regexp.MustCompile(`(?i)([\w.-]*(?:passw|passphrase|secret|token|api_?key|private_?key|psk|authkey|set_credential)[\w.-]*["']?\s*[=:]\s*)(?:"[^"\n]*"|'[^'\n]*'|[^\s"',}\]]+)`),
	// A password in an address.
	regexp.MustCompile(`(://)[^/\s:@"']*:[^/\s@"']+@`),
	// A private key.
	regexp.MustCompile(`(-----BEGIN [A-Z ]*PRIVATE KEY-----)[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?`),
	// Tokens that say what they are: of GitHub, GitLab, Slack, AWS, Nix and age,
	// and signed JSON.
	regexp.MustCompile(`()\b(?:gh[pousr]_|github_pat_|glpat-|xox[a-z]-|AKIA|AGE-SECRET-KEY-)[\w-]{8,}`),
	regexp.MustCompile(`()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*`),
	// A long value without a word in it: base64 or hexadecimal digits after
	// "=" or ":", as kernel parameters have them. A path begins with a slash.
	regexp.MustCompile(`([=:]["']?)[A-Za-z0-9+_-][A-Za-z0-9+/_-]{31,}={0,2}`),
}

const leftOut = "[left out]"

// uuid is a long value that is no secret.
var uuid = regexp.MustCompile(`^[=:]["']?[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// redact takes out of a text what looks like a secret.
func redact(text string) string {
	for _, s := range secrets {
		text = s.ReplaceAllStringFunc(text, func(found string) string {
			if uuid.MatchString(found) {
				return found
			}
			keep := s.FindStringSubmatch(found)[1]
			if strings.HasSuffix(found, "@") { // the end of an address's password
				return keep + leftOut + "@"
			}
			return keep + leftOut
		})
	}
	return text
}
