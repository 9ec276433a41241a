package qemu

import "context"

// SetBalloon asks the guest to do with so many bytes of memory. The guest
// follows in its own time: see the event BALLOON_CHANGE.
func (q *QMP) SetBalloon(ctx context.Context, bytes int64) error {
	return q.Do(ctx, "balloon", map[string]int64{"value": bytes}, nil)
}

// QueryBalloon returns how many bytes of memory the guest has now.
func (q *QMP) QueryBalloon(ctx context.Context) (int64, error) {
	var b struct{ Actual int64 }
	err := q.Do(ctx, "query-balloon", nil, &b)
	return b.Actual, err
}

// SetHotplugged asks the guest to take, or to give back, what it needs to have so
// many bytes of [Machine.HotplugMem] plugged. The guest follows in its own time,
// and can give back only what it can do without.
func (q *QMP) SetHotplugged(ctx context.Context, bytes int64) error {
	return q.Do(ctx, "qom-set", map[string]any{
		"path": "/machine/peripheral/" + hotplugID, "property": "requested-size", "value": bytes,
	}, nil)
}

// QueryHotplugged returns how many bytes of [Machine.HotplugMem] the guest has
// plugged now. A machine without has none.
func (q *QMP) QueryHotplugged(ctx context.Context) (int64, error) {
	var devices []struct {
		Type string
		Data struct {
			ID   string
			Size int64
		}
	}
	if err := q.Do(ctx, "query-memory-devices", nil, &devices); err != nil {
		return 0, err
	}
	for _, d := range devices {
		if d.Type == "virtio-mem" && d.Data.ID == hotplugID {
			return d.Data.Size, nil
		}
	}
	return 0, nil
}
