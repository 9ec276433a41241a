package vm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mvmrun/mvm/mounts"
	"github.com/mvmrun/mvm/vm/control"
)

// verify holds the plan against the guest's report of what is mounted. It returns
// both, mount by mount, and an error with both lines of each difference. A report
// that cannot be read has no mounts.
func verify(plan mounts.Plan, mountinfo string) ([]control.Mount, error) {
	actual, err := mounts.ParseMountInfo(mountinfo)
	if err != nil {
		return nil, fmt.Errorf("its report of what is mounted: %w", err)
	}
	differ := plan.Compare(actual)
	var report []control.Mount
	for _, p := range plan.Mounts {
		m := control.Mount{Where: p.Where, Planned: p.String()}
		i := slices.IndexFunc(differ, func(d mounts.Difference) bool { return d.Where == p.Where })
		if i >= 0 {
			m.Wrong, m.Mounted = harmless([]byte(differ[i].Text)), harmless([]byte(differ[i].Got))
		} else if got := lastAt(actual, p.Where); got != nil {
			m.Mounted = harmless([]byte(got.String()))
			m.Type, m.Source = harmless([]byte(got.Type)), harmless([]byte(got.Source))
		}
		report = append(report, m)
	}
	if len(differ) == 0 {
		return report, nil
	}
	var b strings.Builder
	for _, d := range differ {
		b.WriteString("\n" + d.String())
	}
	return report, errors.New(harmless([]byte(b.String()[1:])))
}

// lastAt returns the mount that was made last on a place, or nil.
func lastAt(list []mounts.MountInfo, where string) *mounts.MountInfo {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Where == where {
			return &list[i]
		}
	}
	return nil
}
