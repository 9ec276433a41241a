package mounts

// Device returns the path by which a guest with udev opens the disk: by its
// serial, else by its label, else by its letter.
func (d Disk) Device() string {
	switch {
	case d.Serial != "":
		return "/dev/disk/by-id/virtio-" + d.Serial
	case d.Label != "":
		return "/dev/disk/by-label/" + encodeUdev(d.Label)
	}
	return "/dev/vd" + letters(d.Position)
}

// reference returns the path that the reference uses: by the label, as it is
// written. It knows no serials and falls back on the letter; mvm does not.
func (d Disk) reference() string {
	if d.Label != "" {
		return "/dev/disk/by-label/" + d.Label
	}
	return d.Device()
}

// letters counts as the kernel names disks: a to z, aa to zz and on.
func letters(n int) string {
	s := ""
	for n++; n > 0; n /= 26 {
		n--
		s = string(rune('a'+n%26)) + s
	}
	return s
}

// encodeUdev writes a label as udev does in /dev/disk/by-label: letters, digits
// and "#+-.:=@_" stay, as does what is beyond ASCII; of the rest each byte
// becomes \x and two hexadecimal digits.
func encodeUdev(label string) string {
	const hex = "0123456789abcdef"
	var b []byte
	for _, r := range label {
		if serialRune(r) || r >= 0x80 {
			b = append(b, string(r)...)
			continue
		}
		b = append(b, '\\', 'x', hex[r>>4], hex[r&15])
	}
	return string(b)
}

// source returns what fstab, a unit file or mount(8) call the source of m.
func (m Mount) source() string {
	if m.Disk != nil {
		return m.Disk.Device()
	}
	return m.What
}
