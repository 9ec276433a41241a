package initrd_test
import ("testing";"time";"os";"os/exec";"bufio";"strings";"sort";"github.com/mvmrun/mvm/mounts/handoff";"github.com/mvmrun/mvm/vm/initrd")
func bare(t *testing.T) time.Duration {
	bb,_ := os.ReadFile("/bin/busybox")
	f,_ := os.CreateTemp(t.TempDir(),"x")
	initrd.Archive(f, []initrd.File{{Path:"/bin/busybox",Mode:initrd.Regular|0o755,Data:bb},{Path:"/bin/sh",Mode:initrd.Symlink|0o777,Data:[]byte("busybox")},{Path:"/init",Mode:initrd.Regular|0o755,Data:[]byte("#!/bin/sh\necho FIRSTLINE\nexec /bin/busybox sleep 1000\n")},
	 {Path: "/dev/console", Mode: initrd.CharDev | 0o600, Major: 5, Minor: 1}})
	f.Close()
	cmd := exec.Command("qemu-system-x86_64","-M", "microvm,acpi=on,pcie=off,pit=on,pic=on,rtc=on,x-option-roms=off", "-accel", "tcg",
		"-cpu", "qemu64,+arat", "-m", "256", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-global", "virtio-mmio.force-legacy=false", "-serial", "stdio",
		"-kernel", find(t, kernelDir+"/boot/vmlinuz-*"), "-initrd", f.Name(),
		"-append", "console=ttyS0 reboot=t panic=-1 quiet tsc_early_khz=" + tscKHz(t) + " tsc=reliable cryptomgr.notests",
		"-device", "virtio-serial-device", "-device","virtio-blk-device,drive=d","-drive","id=d,if=none,format=raw,read-only=on,file="+f.Name())
	out,_ := cmd.StdoutPipe()
	t0 := time.Now()
	cmd.Start()
	s := bufio.NewScanner(out)
	for s.Scan() { if strings.Contains(s.Text(),"FIRSTLINE") { break } }
	d := time.Since(t0)
	cmd.Process.Kill(); cmd.Wait()
	return d
}
func TestZZ(t *testing.T) {
	st := makeStore(t)
	var d [2][]int64
	for i := range 12 {
		stripSig = i%2 == 1
		m := start(t, handoff.Boot{Plan: plain(), Init: []string{initOK}}, drive{st, "nix-store"})
		r := m.ready()
		t.Log(stripSig, r.Timings)
		d[i%2] = append(d[i%2], r.Timings["modules"]-r.Timings["init"])
		m.agent.Poweroff(m.ctx,false); m.end()
	}
	for i := range d { sort.Slice(d[i], func(a,b int)bool{return d[i][a]<d[i][b]}); t.Log(d[i]) }
}
