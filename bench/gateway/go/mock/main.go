// mock is a deliberately thin OpenAI / KServe-V2 backend: one goroutine per
// connection, a hand-written HTTP/1.1 reader and pre-built responses, so that a
// gateway under test, not the backend, is what a benchmark measures.
//
// Behaviour is driven by the request body (gateways may drop headers):
//
//	"stream":true        -> SSE, one write(2) per chunk
//	"max_tokens":N       -> N content chunks (default -chunks)
//
// Pacing is global and changed at run time: GET /admin/config?delay_us=..&ttft_us=..
// -port 0 takes any free ports; {"ports":[…]} on standard output says which. It ends when
// its standard input does, so that no mock outlives a runner that was killed.
// Every SSE content delta is "@<19-digit send time in ns> " so a client can measure
// per-chunk transit time through whatever sits in between.
// Each listening port is one logical backend with its own LRU "prefix cache"
// (-cachecap entries keyed by a hash of the first -prefix bytes of the prompt), so
// prefix-aware routing can be scored: GET /admin/stats on any port, /admin/reset.
package main

import (
	"bytes"
	"container/list"
	"flag"
	"fmt"
	"hash/maphash"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type backend struct {
	id        int
	running   atomic.Int64
	total     atomic.Int64
	chunks    atomic.Int64
	hits      atomic.Int64
	misses    atomic.Int64
	badBody   atomic.Int64
	conns     atomic.Int64
	mu        sync.Mutex
	lru       *list.List
	idx       map[uint64]*list.Element
	jsonResp  []byte
	complResp []byte
}

var (
	delayNs   atomic.Int64
	ttftNs    atomic.Int64
	cacheOn   atomic.Bool
	chunksDef int
	cacheCap  int
	prefixLen int
	model     string
	seed      = maphash.MakeSeed()
	backends  []*backend
)

const sseHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"

func resp(status, ctype string, body []byte) []byte {
	return []byte(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", status, ctype, len(body), body))
}

func newBackend(id int) *backend {
	b := &backend{id: id, lru: list.New(), idx: map[uint64]*list.Element{}}
	text := "The quick brown fox jumps over the lazy dog, then it rests a while."
	b.jsonResp = resp("200 OK", "application/json", []byte(fmt.Sprintf(
		`{"id":"chatcmpl-0123456789abcdef01234567","object":"chat.completion","created":1764000000,"model":"%s","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":256,"completion_tokens":16,"total_tokens":272},"system_fingerprint":"backend-%d"}`, model, text, id)))
	b.complResp = resp("200 OK", "application/json", []byte(fmt.Sprintf(
		`{"id":"cmpl-0123456789abcdef01234567","object":"text_completion","created":1764000000,"model":"%s","choices":[{"index":0,"text":"%s","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":256,"completion_tokens":16,"total_tokens":272}}`, model, text)))
	return b
}

var v2Resp, modelsResp, okResp, emptyOK, notFound, v2Ready []byte

func initResponses() {
	v2Resp = resp("200 OK", "application/json", []byte(`{"model_name":"`+model+`","model_version":"1","id":"0","outputs":[{"name":"output-0","shape":[1,4],"datatype":"FP32","data":[0.1,0.2,0.3,0.4]}]}`))
	modelsResp = resp("200 OK", "application/json", []byte(`{"object":"list","data":[{"id":"`+model+`","object":"model","created":1764000000,"owned_by":"mock","root":"`+model+`","max_model_len":32768}]}`))
	emptyOK = resp("200 OK", "text/plain", nil)
	okResp = resp("200 OK", "application/json", []byte(`{"status":"ok"}`))
	v2Ready = resp("200 OK", "application/json", []byte(`{"ready":true}`))
	notFound = resp("404 Not Found", "application/json", []byte(`{"error":{"message":"not found","type":"invalid_request_error","code":404}}`))
}

func (b *backend) touch(body []byte) {
	i := bytes.Index(body, []byte(`"content":`))
	if i < 0 {
		if i = bytes.Index(body, []byte(`"prompt":`)); i < 0 {
			return
		}
	}
	p := body[i+10:]
	p = bytes.TrimLeft(p, ` "`)
	if len(p) > prefixLen {
		p = p[:prefixLen]
	}
	h := maphash.Bytes(seed, p)
	b.mu.Lock()
	if e, ok := b.idx[h]; ok {
		b.lru.MoveToFront(e)
		b.hits.Add(1)
	} else {
		b.misses.Add(1)
		b.idx[h] = b.lru.PushFront(h)
		if b.lru.Len() > cacheCap {
			last := b.lru.Back()
			delete(b.idx, last.Value.(uint64))
			b.lru.Remove(last)
		}
	}
	b.mu.Unlock()
}

func hasFlag(body []byte, key string) bool {
	k := []byte(`"` + key + `":`)
	for {
		i := bytes.Index(body, k)
		if i < 0 {
			return false
		}
		body = bytes.TrimLeft(body[i+len(k):], " ")
		if bytes.HasPrefix(body, []byte("true")) {
			return true
		}
	}
}

func intField(body []byte, key string) int {
	k := []byte(`"` + key + `":`)
	i := bytes.Index(body, k)
	if i < 0 {
		return -1
	}
	body = bytes.TrimLeft(body[i+len(k):], " ")
	n, seen := 0, false
	for _, c := range body {
		if c < '0' || c > '9' {
			break
		}
		n, seen = n*10+int(c-'0'), true
	}
	if !seen {
		return -1
	}
	return n
}

type conn struct {
	c   net.Conn
	b   *backend
	buf []byte // unread input: buf[r:w]
	r,
	w int
	out []byte
}

func (c *conn) fill() error {
	if c.r > 0 {
		copy(c.buf, c.buf[c.r:c.w])
		c.w -= c.r
		c.r = 0
	}
	if c.w == len(c.buf) {
		nb := make([]byte, 2*len(c.buf))
		copy(nb, c.buf[:c.w])
		c.buf = nb
	}
	n, err := c.c.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

func eqFold(a []byte, lower string) bool {
	if len(a) != len(lower) {
		return false
	}
	for i := range a {
		ch := a[i]
		if ch >= 'A' && ch <= 'Z' {
			ch |= 0x20
		}
		if ch != lower[i] {
			return false
		}
	}
	return true
}

var crlf2 = []byte("\r\n\r\n")

func (c *conn) serve() {
	defer c.c.Close()
	c.b.conns.Add(1)
	defer c.b.conns.Add(-1)
	var chunkBody []byte
	for {
		// head
		var hend int
		for {
			if c.r == c.w {
				c.r, c.w = 0, 0
			}
			if hend = bytes.Index(c.buf[c.r:c.w], crlf2); hend >= 0 {
				break
			}
			if c.w-c.r > 1<<20 {
				return
			}
			if err := c.fill(); err != nil {
				return
			}
		}
		head := c.buf[c.r : c.r+hend+2]
		eol := bytes.IndexByte(head, '\n')
		line := head[:eol-1]
		sp1 := bytes.IndexByte(line, ' ')
		sp2 := bytes.LastIndexByte(line, ' ')
		if sp1 < 0 || sp2 <= sp1 {
			return
		}
		method := string(line[:sp1])
		path := string(line[sp1+1 : sp2])
		if i := strings.Index(path, "://"); i > 0 { // absolute-form
			if j := strings.IndexByte(path[i+3:], '/'); j >= 0 {
				path = path[i+3+j:]
			}
		}
		clen, chunked, closeConn, expect := 0, false, false, false
		for rest := head[eol+1:]; len(rest) > 0; {
			e := bytes.IndexByte(rest, '\n')
			h := rest[:e-1]
			rest = rest[e+1:]
			col := bytes.IndexByte(h, ':')
			if col < 0 {
				continue
			}
			switch col {
			case 14:
				if eqFold(h[:14], "content-length") {
					clen, _ = strconv.Atoi(string(bytes.TrimSpace(h[15:])))
				}
			case 17:
				if eqFold(h[:17], "transfer-encoding") {
					chunked = bytes.Contains(bytes.ToLower(h[18:]), []byte("chunked"))
				}
			case 10:
				if eqFold(h[:10], "connection") {
					closeConn = bytes.Contains(bytes.ToLower(h[11:]), []byte("close"))
				}
			case 6:
				if eqFold(h[:6], "expect") {
					expect = true
				}
			}
		}
		c.r += hend + 4
		if expect {
			c.c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
		}
		var body []byte
		if chunked {
			chunkBody = chunkBody[:0]
			for {
				var nl int
				for {
					if nl = bytes.IndexByte(c.buf[c.r:c.w], '\n'); nl >= 0 {
						break
					}
					if err := c.fill(); err != nil {
						return
					}
				}
				szs := strings.TrimSpace(string(c.buf[c.r : c.r+nl]))
				if i := strings.IndexByte(szs, ';'); i >= 0 {
					szs = szs[:i]
				}
				sz, err := strconv.ParseInt(szs, 16, 32)
				if err != nil {
					return
				}
				c.r += nl + 1
				for c.w-c.r < int(sz)+2 {
					if err := c.fill(); err != nil {
						return
					}
				}
				chunkBody = append(chunkBody, c.buf[c.r:c.r+int(sz)]...)
				c.r += int(sz) + 2
				if sz == 0 {
					break
				}
			}
			body = chunkBody
		} else if clen > 0 {
			for c.w-c.r < clen {
				if err := c.fill(); err != nil {
					return
				}
			}
			body = c.buf[c.r : c.r+clen]
			c.r += clen
		}
		if !c.handle(method, path, body) || closeConn {
			return
		}
	}
}

func (c *conn) write(p []byte) bool {
	_, err := c.c.Write(p)
	return err == nil
}

func (c *conn) handle(method, path string, body []byte) bool {
	q := ""
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path, q = path[:i], path[i+1:]
	}
	b := c.b
	switch path {
	case "/v1/chat/completions", "/chat/completions":
		b.total.Add(1)
		if cacheOn.Load() {
			b.touch(body)
		}
		if hasFlag(body, "stream") {
			return c.stream(body)
		}
		if len(body) < 2 || body[0] != '{' {
			b.badBody.Add(1)
		}
		if d := ttftNs.Load(); d > 0 {
			b.running.Add(1)
			time.Sleep(time.Duration(d))
			b.running.Add(-1)
		}
		return c.write(b.jsonResp)
	case "/v1/completions":
		b.total.Add(1)
		if cacheOn.Load() {
			b.touch(body)
		}
		return c.write(b.complResp)
	case "/v1/models":
		return c.write(modelsResp)
	case "/health", "/healthz", "/health_generate", "/ping", "/liveness", "/readiness", "/v2/health/live", "/v2/health/ready":
		return c.write(emptyOK)
	case "/v2/models/" + model + "/infer":
		b.total.Add(1)
		return c.write(v2Resp)
	case "/v2/models/" + model + "/ready":
		return c.write(v2Ready)
	case "/version":
		return c.write(resp("200 OK", "application/json", []byte(`{"version":"0.11.0"}`)))
	case "/get_server_info", "/server_info":
		return c.write(resp("200 OK", "application/json", []byte(`{"version":"0.5.5","model_path":"`+model+`","served_model_name":"`+model+`","tp_size":1,"dp_size":1,"max_running_requests":256}`)))
	case "/get_model_info", "/model_info":
		return c.write(resp("200 OK", "application/json", []byte(`{"model_path":"`+model+`","tokenizer_path":"`+model+`","is_generation":true}`)))
	case "/metrics":
		var s strings.Builder
		fmt.Fprintf(&s, "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"%s\"} %d\n", model, b.running.Load())
		fmt.Fprintf(&s, "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{model_name=\"%s\"} 0\n", model)
		kv := float64(b.running.Load()) / 256
		fmt.Fprintf(&s, "# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{model_name=\"%s\"} %g\n", model, kv)
		fmt.Fprintf(&s, "# TYPE vllm:gpu_cache_usage_perc gauge\nvllm:gpu_cache_usage_perc{model_name=\"%s\"} %g\n", model, kv)
		fmt.Fprintf(&s, "# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"8192\"} 1\n")
		fmt.Fprintf(&s, "# TYPE vllm:lora_requests_info gauge\nvllm:lora_requests_info{max_lora=\"0\",running_lora_adapters=\"\",waiting_lora_adapters=\"\"} %d\n", time.Now().Unix())
		fmt.Fprintf(&s, "# TYPE vllm:prefix_cache_queries_total counter\nvllm:prefix_cache_queries_total{model_name=\"%s\"} %d\n", model, b.hits.Load()+b.misses.Load())
		fmt.Fprintf(&s, "# TYPE vllm:prefix_cache_hits_total counter\nvllm:prefix_cache_hits_total{model_name=\"%s\"} %d\n", model, b.hits.Load())
		return c.write(resp("200 OK", "text/plain; version=0.0.4", []byte(s.String())))
	case "/admin/config":
		v, _ := url.ParseQuery(q)
		if s := v.Get("delay_us"); s != "" {
			n, _ := strconv.ParseInt(s, 10, 64)
			delayNs.Store(n * 1000)
		}
		if s := v.Get("ttft_us"); s != "" {
			n, _ := strconv.ParseInt(s, 10, 64)
			ttftNs.Store(n * 1000)
		}
		if s := v.Get("cache"); s != "" {
			cacheOn.Store(s == "1")
		}
		return c.write(okResp)
	case "/admin/reset":
		for _, x := range backends {
			x.total.Store(0)
			x.chunks.Store(0)
			x.hits.Store(0)
			x.misses.Store(0)
			x.badBody.Store(0)
			x.mu.Lock()
			x.lru.Init()
			x.idx = map[uint64]*list.Element{}
			x.mu.Unlock()
		}
		return c.write(okResp)
	case "/admin/stats":
		var s strings.Builder
		s.WriteString(`{"backends":[`)
		for i, x := range backends {
			if i > 0 {
				s.WriteByte(',')
			}
			fmt.Fprintf(&s, `{"id":%d,"total":%d,"chunks":%d,"hits":%d,"misses":%d,"bad":%d,"conns":%d}`, x.id, x.total.Load(), x.chunks.Load(), x.hits.Load(), x.misses.Load(), x.badBody.Load(), x.conns.Load())
		}
		s.WriteString("]}")
		return c.write(resp("200 OK", "application/json", []byte(s.String())))
	}
	return c.write(notFound)
}

func (c *conn) chunk(head string, payload ...string) bool {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	c.out = append(c.out[:0], head...)
	c.out = strconv.AppendInt(c.out, int64(n), 16)
	c.out = append(c.out, "\r\n"...)
	for _, p := range payload {
		c.out = append(c.out, p...)
	}
	c.out = append(c.out, "\r\n"...)
	return c.write(c.out)
}

func (c *conn) stream(body []byte) bool {
	b := c.b
	n := intField(body, "max_tokens")
	if n < 0 {
		if n = intField(body, "max_completion_tokens"); n < 0 {
			n = chunksDef
		}
	}
	usage := hasFlag(body, "include_usage")
	b.running.Add(1)
	defer b.running.Add(-1)
	delay, ttft := time.Duration(delayNs.Load()), time.Duration(ttftNs.Load())
	pre := `data: {"id":"chatcmpl-0123456789abcdef01234567","object":"chat.completion.chunk","created":1764000000,"model":"` + model + `","choices":[{"index":0,"delta":`
	if ttft > 0 {
		time.Sleep(ttft)
	}
	head := sseHead
	for i := 0; i < n; i++ {
		if i > 0 && delay > 0 {
			time.Sleep(delay)
		}
		d := `{"content":"@`
		if i == 0 {
			d = `{"role":"assistant","content":"@`
		}
		if !c.chunk(head, pre, d, strconv.FormatInt(time.Now().UnixNano(), 10), ` "},"logprobs":null,"finish_reason":null}]}`+"\n\n") {
			return false
		}
		head = ""
	}
	b.chunks.Add(int64(n))
	fin := pre + `{},"logprobs":null,"finish_reason":"stop"}]}` + "\n\n"
	if usage {
		fin += `data: {"id":"chatcmpl-0123456789abcdef01234567","object":"chat.completion.chunk","created":1764000000,"model":"` + model + `","choices":[],"usage":{"prompt_tokens":256,"completion_tokens":` + strconv.Itoa(n) + `,"total_tokens":` + strconv.Itoa(256+n) + `}}` + "\n\n"
	}
	if !c.chunk(head, fin, "data: [DONE]\n\n") {
		return false
	}
	return c.write([]byte("0\r\n\r\n"))
}

func main() {
	host := flag.String("host", "127.0.0.1", "listen host")
	port := flag.Int("port", 0, "first port; 0: any free ones")
	n := flag.Int("n", 8, "number of logical backends (ports)")
	procs := flag.Int("procs", 1, "GOMAXPROCS")
	delay := flag.Int64("delay_us", 0, "microseconds between SSE chunks")
	ttft := flag.Int64("ttft_us", 0, "microseconds before the first byte")
	flag.IntVar(&chunksDef, "chunks", 64, "SSE chunks when max_tokens is absent")
	flag.IntVar(&cacheCap, "cachecap", 16, "prefix-cache entries per backend")
	flag.IntVar(&prefixLen, "prefix", 1024, "bytes of the first message that make the prefix key")
	flag.StringVar(&model, "model", "m", "model name")
	flag.Parse()
	runtime.GOMAXPROCS(*procs)
	delayNs.Store(*delay * 1000)
	ttftNs.Store(*ttft * 1000)
	initResponses()
	ports := []string{}
	for i := 0; i < *n; i++ {
		b := newBackend(i)
		backends = append(backends, b)
		want := 0
		if *port > 0 {
			want = *port + i
		}
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", *host, want))
		if err != nil {
			log.Fatal(err)
		}
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					log.Print(err)
					return
				}
				nc.(*net.TCPConn).SetNoDelay(true)
				go (&conn{c: nc, b: b, buf: make([]byte, 8192)}).serve()
			}
		}()
	}
	fmt.Printf("{\"ports\":[%s]}\n", strings.Join(ports, ","))
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT)
	<-ch
}
