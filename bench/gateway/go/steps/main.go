//go:build linux && amd64

// steps PID FILE: every instruction of a process's main thread, one after another, until SIGTERM: their addresses, 8 bytes
// each, little-endian. Linux on amd64, by ptrace; a million take about a minute. Nothing else may trace the process.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
)

func main() {
	if len(os.Args) != 3 {
		fail("usage: steps PID FILE")
	}
	pid, err := strconv.Atoi(os.Args[1])
	check(err)
	file, err := os.Create(os.Args[2])
	check(err)
	out := bufio.NewWriterSize(file, 1<<20)
	runtime.LockOSThread() // ptrace belongs to a thread
	check(syscall.PtraceAttach(pid))
	var ended atomic.Bool
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	go func() {
		<-asked
		ended.Store(true)
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may sleep in a system call
	}()
	wait(pid)
	fmt.Println("attached")
	deliver := 0
	for !ended.Load() {
		_, _, number := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_SINGLESTEP, uintptr(pid), 0, uintptr(deliver), 0, 0)
		if number != 0 {
			fail(number.Error())
		}
		status := wait(pid)
		if status.Exited() || status.Signaled() {
			break
		}
		deliver = 0
		if got := status.StopSignal(); got != syscall.SIGTRAP && got != syscall.SIGSTOP {
			deliver = int(got)
		}
		var registers syscall.PtraceRegs
		check(syscall.PtraceGetRegs(pid, &registers))
		check(binary.Write(out, binary.LittleEndian, registers.Rip))
	}
	check(out.Flush())
	check(file.Close())
	_ = syscall.PtraceDetach(pid)
	_ = syscall.Kill(pid, syscall.SIGCONT)
}

func wait(pid int) syscall.WaitStatus {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, syscall.WALL, nil)
		if err == syscall.EINTR {
			continue
		}
		check(err)
		return status
	}
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}
