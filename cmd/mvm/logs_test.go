package main

import (
	"testing"
	"time"
)

func TestSinceIsATimeOrHowLongAgo(t *testing.T) {
	zone := time.FixedZone("east", 2*3600)
	now := time.Date(2026, 11, 22, 12, 30, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"90s":                       now.Add(-90 * time.Second),
		"2h30m":                     time.Date(2026, 11, 22, 10, 0, 0, 0, zone),
		"9:15":                      time.Date(2026, 11, 22, 9, 15, 0, 0, zone),
		"09:15:07":                  time.Date(2026, 11, 22, 9, 15, 7, 0, zone),
		"2026-11-21":                time.Date(2026, 11, 21, 0, 0, 0, 0, zone),
		"2026-11-21 08:00":          time.Date(2026, 11, 21, 8, 0, 0, 0, zone),
		"2026-11-21 08:00:01":       time.Date(2026, 11, 21, 8, 0, 1, 0, zone),
		"2026-11-21T08:00:01":       time.Date(2026, 11, 21, 8, 0, 1, 0, zone),
		"2026-11-21T08:00:01-05:00": time.Date(2026, 11, 21, 15, 0, 1, 0, zone),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("parseSince(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-5m", "10", "25:00"} {
		if got, err := parseSince(text, now); err == nil {
			t.Errorf("parseSince(%q) = %v; want an error", text, got)
		}
	}
}
