// load drives an OpenAI-style endpoint over raw keep-alive sockets and reports
// exact percentiles as JSON. Closed loop: -c connections back to back. Open loop:
// -rate R schedules requests at a constant rate over up to -c connections and
// reports latency from the scheduled time (no coordinated omission) as well as
// from the actual send. Streaming responses are de-chunked incrementally: time to
// first byte, to the first content chunk, gaps between chunks, per-chunk transit
// (the mock stamps each chunk with its send time) and total are measured.
// A response is an error unless it is 200 and complete: valid framing, the
// expected marker present, and for SSE the expected chunk count plus [DONE].
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type hdrs []string

func (h *hdrs) String() string     { return strings.Join(*h, ",") }
func (h *hdrs) Set(s string) error { *h = append(*h, s); return nil }

type stats struct {
	lat, sched, ttfb, ttfc, gap, transit, late []int64
	reqs, errs, chunks, bytes, reconn          int64
	warmErrs                                   int64
	samples                                    []string
}

var (
	addr      = flag.String("addr", "127.0.0.1:9100", "host:port")
	path      = flag.String("path", "/v1/chat/completions", "request path")
	kind      = flag.String("kind", "chat", "chat | v2 | get")
	mdl       = flag.String("model", "m", "model field")
	stream    = flag.Bool("stream", false, "stream SSE")
	chunks    = flag.Int("chunks", 64, "expected SSE content chunks (sent as max_tokens)")
	size      = flag.Int("size", 1024, "request body size in bytes")
	groups    = flag.Int("groups", 0, "distinct shared prefixes (0: one fixed body)")
	prefixB   = flag.Int("prefix", 2048, "bytes of shared prefix per group")
	unique    = flag.Int64("unique", -1, "give each request a text of its own, counted from here (-1: one fixed body)")
	tempr     = flag.String("temperature", "0.7", "temperature field")
	conns     = flag.Int("c", 64, "connections")
	rate      = flag.Float64("rate", 0, "open loop requests per second (0: closed loop)")
	dur       = flag.Duration("d", 5*time.Second, "measured duration")
	warm      = flag.Duration("warm", time.Second, "warm-up, not measured")
	warmN     = flag.Int64("warmn", 0, "warm-up also lasts until this many requests are done (10 s at most)")
	maxReq    = flag.Int64("n", 0, "stop after n measured requests (0: time only)")
	timeout   = flag.Duration("timeout", 20*time.Second, "per-request timeout")
	procs     = flag.Int("procs", 1, "GOMAXPROCS")
	label     = flag.String("label", "", "name in the output")
	sid       = flag.Int("sid", 0, "session id of the gateway: its CPU and RSS over the window are reported")
	leash     = flag.Bool("leash", false, "end when standard input does")
	mockPid   = flag.Int("mockpid", 0, "pid of the mock: its CPU is reported")
	extra     hdrs
	measuring atomic.Bool
	stop      atomic.Bool
	done      atomic.Int64
	warmed    atomic.Int64
	nth       atomic.Int64
)

const filler = "The platform routes each inference request to the replica that already holds most of its prefix in cache, and falls back to the least loaded one. "

func text(n int, salt string) string {
	var b strings.Builder
	b.WriteString(salt)
	for b.Len() < n {
		b.WriteString(filler)
	}
	return b.String()[:n]
}

func request(body string) []byte {
	var b strings.Builder
	m := "POST"
	if *kind == "get" {
		m = "GET"
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: muster-bench/1\r\nAccept: */*\r\n", m, *path, *addr)
	for _, h := range extra {
		b.WriteString(h + "\r\n")
	}
	if m == "POST" {
		fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	} else {
		b.WriteString("\r\n")
	}
	return []byte(b.String())
}

func chatBody(sys, user string) string {
	s := `{"model":"` + *mdl + `","messages":[{"role":"system","content":"` + sys + `"},{"role":"user","content":"` + user + `"}],"temperature":` + *tempr + `,"max_tokens":` + strconv.Itoa(*chunks)
	if *stream {
		s += `,"stream":true`
	}
	return s + "}"
}

// bodies returns a generator of ready-made request bytes.
func bodies(r *rand.Rand) func() []byte {
	switch *kind {
	case "get":
		q := request("")
		return func() []byte { return q }
	case "v2":
		n := (*size - 120) / 5
		if n < 4 {
			n = 4
		}
		q := request(`{"id":"0","inputs":[{"name":"input-0","shape":[1,` + strconv.Itoa(n) + `],"datatype":"FP32","data":[` + strings.TrimSuffix(strings.Repeat("0.25,", n), ",") + `]}]}`)
		return func() []byte { return q }
	}
	over := len(chatBody("", ""))
	if *groups <= 0 {
		n := *size - over
		if n < 16 {
			n = 16
		}
		sys, user := text(n/5, "You are a helpful assistant. "), text(n-n/5, "")
		if *unique >= 0 {
			return func() []byte {
				return request(chatBody(sys, fmt.Sprintf("%016x ", *unique+nth.Add(1)-1)+user[:len(user)-17]))
			}
		}
		q := request(chatBody(sys, user))
		return func() []byte { return q }
	}
	sys := make([]string, *groups)
	for i := range sys {
		sys[i] = text(*prefixB, fmt.Sprintf("Tenant %06d policy document. ", i*7919))
	}
	n := *size - over - *prefixB
	if n < 64 {
		n = 64
	}
	tail := text(n, "")
	return func() []byte {
		return request(chatBody(sys[r.Intn(*groups)], fmt.Sprintf("%016x ", r.Uint64())+tail))
	}
}

type client struct {
	c  net.Conn
	br *bufio.Reader
	st *stats
}

func (k *client) dial() error {
	if k.c != nil {
		k.c.Close()
	}
	c, err := net.DialTimeout("tcp", *addr, 5*time.Second)
	if err != nil {
		k.c = nil
		return err
	}
	c.(*net.TCPConn).SetNoDelay(true)
	k.c = c
	k.br = bufio.NewReaderSize(c, 65536)
	return nil
}

// line reads one header line without its CRLF.
func (k *client) line() ([]byte, error) {
	b, err := k.br.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(b, "\r\n"), nil
}

type sse struct {
	n, stamps   int
	done        bool
	first, last time.Time
	carry       []byte
}

func (k *client) event(s *sse, ln []byte, now time.Time) {
	if !bytes.HasPrefix(ln, []byte("data:")) {
		return
	}
	ln = bytes.TrimLeft(ln[5:], " ")
	if bytes.HasPrefix(ln, []byte("[DONE]")) {
		s.done = true
		return
	}
	i := bytes.IndexByte(ln, '@')
	if i < 0 || i+20 > len(ln) {
		return
	}
	sent, err := strconv.ParseInt(string(ln[i+1:i+20]), 10, 64)
	if err != nil {
		return
	}
	s.n++
	if measuring.Load() {
		k.st.transit = append(k.st.transit, now.UnixNano()-sent)
		if s.n > 1 {
			k.st.gap = append(k.st.gap, now.Sub(s.last).Nanoseconds())
		}
	}
	if s.n == 1 {
		s.first = now
	}
	s.last = now
}

func (k *client) feed(s *sse, p []byte, now time.Time) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.carry = append(s.carry, p...)
			return
		}
		if len(s.carry) > 0 {
			s.carry = append(s.carry, p[:i]...)
			k.event(s, s.carry, now)
			s.carry = s.carry[:0]
		} else {
			k.event(s, p[:i], now)
		}
		p = p[i+1:]
	}
}

var errStatus = errors.New("status")

// do sends one request and reads its whole response.
func (k *client) do(q []byte) (ttfb, ttfc, total time.Duration, nchunks int, err error) {
	if k.c == nil {
		if err = k.dial(); err != nil {
			return
		}
	}
	k.c.SetDeadline(time.Now().Add(*timeout))
	t0 := time.Now()
	if _, err = k.c.Write(q); err != nil {
		return
	}
	if _, err = k.br.Peek(1); err != nil {
		return
	}
	ttfb = time.Since(t0)
	ln, err := k.line()
	if err != nil {
		return
	}
	if len(ln) < 12 {
		err = fmt.Errorf("bad status line %q", ln)
		return
	}
	status := string(ln[9:12])
	clen, chunked, closed := -1, false, false
	for {
		if ln, err = k.line(); err != nil {
			return
		}
		if len(ln) == 0 {
			break
		}
		i := bytes.IndexByte(ln, ':')
		if i < 0 {
			continue
		}
		switch {
		case i == 14 && strings.EqualFold(string(ln[:i]), "content-length"):
			clen, _ = strconv.Atoi(string(bytes.TrimSpace(ln[i+1:])))
		case i == 17 && strings.EqualFold(string(ln[:i]), "transfer-encoding"):
			chunked = bytes.Contains(bytes.ToLower(ln[i+1:]), []byte("chunked"))
		case i == 10 && strings.EqualFold(string(ln[:i]), "connection"):
			closed = bytes.Contains(bytes.ToLower(ln[i+1:]), []byte("close"))
		}
	}
	var s sse
	var body []byte
	if !*stream {
		body = make([]byte, 0, 1024)
	}
	take := func(left int) error { // consume exactly left bytes (or to EOF when <0)
		for left != 0 {
			if _, e := k.br.Peek(1); e != nil {
				if left < 0 && e == io.EOF {
					return nil
				}
				return e
			}
			now := time.Now()
			n := k.br.Buffered()
			if left > 0 && n > left {
				n = left
			}
			p, _ := k.br.Peek(n)
			k.st.bytes += int64(n)
			if *stream {
				k.feed(&s, p, now)
			} else {
				body = append(body, p...)
			}
			k.br.Discard(n)
			if left > 0 {
				left -= n
			}
		}
		return nil
	}
	switch {
	case chunked:
		for {
			if ln, err = k.line(); err != nil {
				return
			}
			if i := bytes.IndexByte(ln, ';'); i >= 0 {
				ln = ln[:i]
			}
			var sz int64
			if sz, err = strconv.ParseInt(strings.TrimSpace(string(ln)), 16, 32); err != nil {
				return
			}
			if sz == 0 {
				for { // trailers
					if ln, err = k.line(); err != nil {
						return
					}
					if len(ln) == 0 {
						break
					}
				}
				break
			}
			if err = take(int(sz)); err != nil {
				return
			}
			if _, err = k.br.Discard(2); err != nil {
				return
			}
		}
	case clen >= 0:
		err = take(clen)
	default:
		err = take(-1)
		closed = true
	}
	if err != nil {
		return
	}
	total = time.Since(t0)
	if closed {
		k.c.Close()
		k.c = nil
		k.st.reconn++
	}
	if status != "200" {
		err = fmt.Errorf("%w %s %.160s", errStatus, status, body)
		return
	}
	if *stream {
		nchunks = s.n
		if s.n > 0 {
			ttfc = s.first.Sub(t0)
		}
		if s.n != *chunks || !s.done {
			err = fmt.Errorf("%w stream: %d of %d chunks, done=%v", errStatus, s.n, *chunks, s.done)
		}
	} else if *kind == "chat" && !bytes.Contains(body, []byte("quick brown fox")) {
		err = fmt.Errorf("%w unexpected body %.160s", errStatus, body)
	} else if *kind == "v2" && !bytes.Contains(body, []byte(`"outputs"`)) {
		err = fmt.Errorf("%w unexpected body %.160s", errStatus, body)
	}
	return
}

func (k *client) one(q []byte, sched time.Time) {
	t0 := time.Now()
	ttfb, ttfc, total, n, err := k.do(q)
	m := measuring.Load()
	if err != nil {
		if !errors.Is(err, errStatus) && k.c != nil {
			k.c.Close()
			k.c = nil
		}
		if m {
			k.st.errs++
		} else if !stop.Load() {
			k.st.warmErrs++
		}
		if len(k.st.samples) < 3 && !stop.Load() {
			k.st.samples = append(k.st.samples, err.Error())
		}
		if !errors.Is(err, errStatus) {
			time.Sleep(2 * time.Millisecond)
		}
		return
	}
	if !m {
		warmed.Add(1)
		return
	}
	k.st.reqs++
	k.st.chunks += int64(n)
	k.st.lat = append(k.st.lat, total.Nanoseconds())
	k.st.ttfb = append(k.st.ttfb, ttfb.Nanoseconds())
	if *stream {
		k.st.ttfc = append(k.st.ttfc, ttfc.Nanoseconds())
	}
	if !sched.IsZero() {
		k.st.late = append(k.st.late, t0.Sub(sched).Nanoseconds())
		k.st.sched = append(k.st.sched, time.Since(sched).Nanoseconds())
	}
	if *maxReq > 0 && done.Add(1) >= *maxReq {
		stop.Store(true)
	}
}

func pct(v []int64) map[string]float64 {
	if len(v) == 0 {
		return nil
	}
	sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
	at := func(p float64) float64 {
		i := int(p * float64(len(v)))
		if i >= len(v) {
			i = len(v) - 1
		}
		return float64(v[i]) / 1e3
	}
	sum := 0.0
	for _, x := range v {
		sum += float64(x)
	}
	return map[string]float64{"n": float64(len(v)), "min": float64(v[0]) / 1e3, "mean": sum / float64(len(v)) / 1e3, "p50": at(.5), "p90": at(.9), "p99": at(.99), "p999": at(.999), "max": float64(v[len(v)-1]) / 1e3}
}

func nap(d time.Duration) { // precise sleep: the runtime's netpoller rounds to 1 ms
	if d > 0 {
		ts := syscall.NsecToTimespec(int64(d))
		syscall.Nanosleep(&ts, nil)
	}
}

type use struct {
	user, sys, rss float64
	cpu            float64 // exact, where the kernel tells it, else user + sys
	ctxt           int64
	n              int
}

func statOf(pid string) (f []string) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil
	}
	i := bytes.LastIndexByte(b, ')')
	return strings.Fields(string(b[i+2:])) // f[0] is field 3, state
}

func num(s string) float64 { v, _ := strconv.ParseFloat(s, 64); return v }

// sessionCPU sums user and system seconds, RSS and context switches of every process whose session is id.
func sessionCPU(id int) (u use) {
	if id == 0 {
		return
	}
	want := strconv.Itoa(id)
	ents, _ := os.ReadDir("/proc")
	for _, e := range ents {
		p := e.Name()
		if p[0] < '1' || p[0] > '9' {
			continue
		}
		f := statOf(p)
		if len(f) < 22 || f[3] != want {
			continue
		}
		u.n++
		u.user += num(f[11]) / 100
		u.sys += num(f[12]) / 100
		u.rss += num(f[21]) * 4096 / 1e6
		u.cpu += exactCPU(p, num(f[11])/100+num(f[12])/100)
		tasks, _ := os.ReadDir("/proc/" + p + "/task")
		for _, t := range tasks {
			b, _ := os.ReadFile("/proc/" + p + "/task/" + t.Name() + "/status")
			for _, key := range []string{"\nvoluntary_ctxt_switches:", "\nnonvoluntary_ctxt_switches:"} {
				if i := bytes.Index(b, []byte(key)); i >= 0 {
					var v int64
					fmt.Sscan(string(b[i+len(key):]), &v)
					u.ctxt += v
				}
			}
		}
	}
	return
}

// exactCPU sums the nanoseconds that a process's threads ran. user and sys are counted by ticks: whoever runs when the
// tick comes gets all of it, and a process that wakes in step with the ticks gets far too much or nothing.
func exactCPU(pid string, ticks float64) float64 {
	tasks, _ := os.ReadDir("/proc/" + pid + "/task")
	sum := 0.0
	for _, t := range tasks {
		b, err := os.ReadFile("/proc/" + pid + "/task/" + t.Name() + "/schedstat")
		f := strings.Fields(string(b))
		if err != nil || len(f) < 1 {
			return ticks
		}
		sum += num(f[0]) / 1e9
	}
	if sum == 0 {
		return ticks
	}
	return sum
}

func pidCPU(pid int) (u use) {
	if f := statOf(strconv.Itoa(pid)); len(f) > 22 {
		u.user, u.sys = num(f[11])/100, num(f[12])/100
		u.cpu = exactCPU(strconv.Itoa(pid), u.user+u.sys)
	}
	return
}

type host struct{ busy, idle float64 }

func hostCPU() (h host) {
	b, _ := os.ReadFile("/proc/stat")
	f := strings.Fields(string(b[:bytes.IndexByte(b, '\n')]))
	for i, s := range f[1:9] {
		if i == 3 || i == 4 {
			h.idle += num(s) / 100
		} else {
			h.busy += num(s) / 100
		}
	}
	return
}

func main() {
	flag.Var(&extra, "H", "extra request header (repeatable)")
	flag.Parse()
	runtime.GOMAXPROCS(*procs)
	if *leash {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
	}
	if *conns < 1 {
		*conns = 1
	}
	var wg sync.WaitGroup
	all := make([]*stats, *conns)
	jobs := make(chan time.Time, 1<<16)
	for i := range all {
		all[i] = &stats{}
		k := &client{st: all[i]}
		gen := bodies(rand.New(rand.NewSource(int64(i)*7919 + 1)))
		wg.Add(1)
		go func() {
			defer wg.Done()
			if *rate > 0 {
				for t := range jobs {
					if !stop.Load() {
						k.one(gen(), t)
					}
				}
			} else {
				for !stop.Load() {
					k.one(gen(), time.Time{})
				}
			}
			if k.c != nil {
				k.c.Close()
			}
		}()
	}
	var dropped int64
	if *rate > 0 {
		go func() {
			runtime.LockOSThread()
			step := time.Duration(float64(time.Second) / *rate)
			next := time.Now()
			for !stop.Load() {
				nap(time.Until(next))
				select {
				case jobs <- next:
				default:
					dropped++
				}
				next = next.Add(step)
			}
			close(jobs)
		}()
	}
	time.Sleep(*warm)
	for t := time.Now(); warmed.Load() < *warmN && time.Since(t) < 10*time.Second-*warm; {
		time.Sleep(20 * time.Millisecond)
	}
	var ru0, ru1 syscall.Rusage
	syscall.Getrusage(0, &ru0)
	g0, m0, h0 := sessionCPU(*sid), pidCPU(*mockPid), hostCPU()
	start := time.Now()
	measuring.Store(true)
	for time.Since(start) < *dur && !stop.Load() {
		time.Sleep(5 * time.Millisecond)
	}
	measuring.Store(false)
	elapsed := time.Since(start)
	g1, m1, h1 := sessionCPU(*sid), pidCPU(*mockPid), hostCPU()
	syscall.Getrusage(0, &ru1)
	stop.Store(true)
	fin := make(chan bool)
	go func() { wg.Wait(); close(fin) }()
	select {
	case <-fin:
	case <-time.After(3 * time.Second):
	}
	t := &stats{}
	for _, s := range all {
		t.lat = append(t.lat, s.lat...)
		t.sched = append(t.sched, s.sched...)
		t.late = append(t.late, s.late...)
		t.ttfb = append(t.ttfb, s.ttfb...)
		t.ttfc = append(t.ttfc, s.ttfc...)
		t.gap = append(t.gap, s.gap...)
		t.transit = append(t.transit, s.transit...)
		t.reqs += s.reqs
		t.errs += s.errs
		t.warmErrs += s.warmErrs
		t.bytes += s.bytes
		t.reconn += s.reconn
		t.samples = append(t.samples, s.samples...)
	}
	if len(t.samples) > 3 {
		t.samples = t.samples[:3]
	}
	t.chunks = int64(len(t.transit))
	own := h1.busy - h0.busy // replaced below by what is not ours
	cpu := func(a, b syscall.Timeval) float64 {
		return float64(b.Sec-a.Sec) + float64(b.Usec-a.Usec)/1e6
	}
	cl := cpu(ru0.Utime, ru1.Utime) + cpu(ru0.Stime, ru1.Stime)
	gw := g1.cpu - g0.cpu
	mk := m1.cpu - m0.cpu
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"label": *label, "seconds": elapsed.Seconds(), "requests": t.reqs, "errors": t.errs, "warm_errors": t.warmErrs, "error_samples": t.samples,
		"rps": float64(t.reqs) / elapsed.Seconds(), "chunks": t.chunks, "chunks_per_s": float64(t.chunks) / elapsed.Seconds(),
		"bytes": t.bytes, "reconnects": t.reconn, "dropped": dropped,
		"lat_us": pct(t.lat), "sched_lat_us": pct(t.sched), "send_late_us": pct(t.late), "ttfb_us": pct(t.ttfb), "ttfc_us": pct(t.ttfc),
		"gap_us": pct(t.gap), "transit_us": pct(t.transit),
		"client_cpu_s": cl, "gw_cpu_s": gw, "gw_user_s": g1.user - g0.user, "gw_sys_s": g1.sys - g0.sys, "gw_rss_mb": g1.rss, "gw_procs": g1.n,
		"gw_ctxt": g1.ctxt - g0.ctxt, "mock_cpu_s": mk, "other_cpu_s": own - cl - gw - mk, "idle_cpu_s": h1.idle - h0.idle,
	})
}
