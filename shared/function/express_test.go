package function

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is what a handler saw of a request.
func told(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	lines := []string{r.Method, r.URL.String(), r.Host, r.RequestURI, r.Proto, fmt.Sprint(r.ContentLength), string(body), fmt.Sprint(err)}
	for _, name := range []string{"Accept", "Content-Type", "X-Forwarded-For", "X-Odd", "Host", "Content-Length"} {
		lines = append(lines, fmt.Sprintf("%s %q", name, r.Header[name]))
	}
	return strings.Join(lines, "\n")
}

// expressServer serves /x and /r/… by express, and all else by net/http. An answer says
// what its handler saw and, in the header By, which it was.
func expressServer(t *testing.T, change func(*Config)) (addr string) {
	return expressServerOf(t, change, nil)
}

func expressServerOf(t *testing.T, change func(*Config), gone chan<- string) (addr string) {
	t.Helper()
	answer := func(by string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("By", by)
			switch r.Header.Get("X-Odd") {
			case "panic":
				panic("boom")
			case "unread":
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			case "empty":
				w.WriteHeader(http.StatusNoContent)
				return
			case "until gone":
				<-r.Context().Done()
				gone <- r.PathValue("id")
				return
			}
			text := told(r) + r.PathValue("id") + r.Pattern
			w.Header().Set("Two", "one\r\nTwo: lines")
			_, _ = io.WriteString(w, text)
		}
	}
	cfg := DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	if change != nil {
		change(&cfg)
	}
	p, err := NewProcess(t.Context(), cfg, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	at, err := p.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- p.Serve(t.Context(), Function{
			Name: "a",
			Routes: func(mux *http.ServeMux) {
				mux.HandleFunc("/x", answer("net/http"))
				mux.HandleFunc("GET /r/{id}", answer("net/http"))
			},
			Express: map[string]http.HandlerFunc{"/x": answer("express"), "GET /r/{id}": answer("express")},
		})
	}()
	t.Cleanup(func() { // the test's context has ended
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return at.String()
}

func dialed(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

// answered reads an answer: its status, by whom, and the body.
func answered(t *testing.T, from *bufio.Reader) (res *http.Response, body string) {
	t.Helper()
	res, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

const plain = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"

// TestExpressAnswersAsNetHTTPDoes sends requests twice: alone, and as net/http's
// with a header for which express leaves it to that.
func TestExpressAnswersAsNetHTTPDoes(t *testing.T) {
	addr := expressServer(t, nil)
	for _, request := range []string{
		plain + "\r\nabc",
		plain + "connection: Keep-Alive\r\naccept: a\r\nAccept: b\r\ncontent-type:text/plain \r\nX-FORWARDED-for: 1.2.3.4\r\n\r\nabc",
		"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
		plain + "X-Odd: empty\r\n\r\nabc",
		plain + "X-Odd: panic\r\n\r\nabc",
		plain + "X-Odd: unread\r\n\r\nabc",
		"GET /r/a-1?from=today&to=today&x=%3B HTTP/1.1\r\nHost: a\r\naccept: b\r\n\r\n",
		"GET /r/a HTTP/1.1\r\nHost: a\r\nX-Odd: empty\r\n\r\n",
	} {
		conn, from := dialed(t, addr)
		write(t, conn, request)
		got, gotBody := answered(t, from)
		head, body, _ := strings.Cut(request, "\r\n\r\n")
		write(t, conn, head+"\r\nTE: trailers\r\n\r\n"+body)
		want, wantBody := answered(t, from)
		if got.Header.Get("By") != "express" && !strings.Contains(request, "panic") || want.Header.Get("By") == "express" {
			t.Errorf("%q went to %q and %q", request, got.Header.Get("By"), want.Header.Get("By"))
		}
		for _, h := range []http.Header{got.Header, want.Header} {
			h.Del("By")
			h.Del("Date")
		}
		if diff := cmp.Diff(want.Header, got.Header); diff != "" || got.Status != want.Status || gotBody != wantBody {
			t.Errorf("%q: %s, expected %s\n%s\n%s", request, got.Status, want.Status, diff, cmp.Diff(wantBody, gotBody))
		}
	}
}

func TestExpressGoesOnAsRequestsCome(t *testing.T) {
	addr := expressServer(t, nil)
	conn, from := dialed(t, addr)
	write(t, conn, strings.Repeat(plain+"\r\nabc", 3)) // at once
	for range 3 {
		if res, body := answered(t, from); res.StatusCode != 200 || !strings.Contains(body, "\nabc\n") {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
	}
	for _, b := range plain + "\r\nabc" { // byte by byte
		write(t, conn, string(b))
	}
	if _, body := answered(t, from); !strings.Contains(body, "\nabc\n<nil>") {
		t.Fatal(body)
	}
	large := strings.Repeat("x", 100<<10)
	write(t, conn, fmt.Sprintf("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(large), large))
	if res, body := answered(t, from); res.Header.Get("By") != "express" || !strings.Contains(body, large) {
		t.Fatal("a large body did not come")
	}
	// Part of a head that is none of its own goes on to net/http as well.
	write(t, conn, plain+"\r\nabcPOST /y HTT")
	answered(t, from)
	write(t, conn, "P/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"+plain+"\r\nabc")
	if res, _ := answered(t, from); res.StatusCode != http.StatusNotFound {
		t.Fatal(res.Status)
	}
	if res, _ := answered(t, from); res.Header.Get("By") != "net/http" {
		t.Fatalf("%s by %q", res.Status, res.Header.Get("By"))
	}
}

// TestExpressLeavesTheRestAlone: net/http judges what is rare or wrong.
func TestExpressLeavesTheRestAlone(t *testing.T) {
	addr := expressServer(t, nil)
	for request, want := range map[string]int{
		"GET /x HTTP/1.1\r\nHost: a\r\n\r\n":                                                   200,
		"GET /r/a%20b HTTP/1.1\r\nHost: a\r\n\r\n":                                             200,
		"GET /r/.. HTTP/1.1\r\nHost: a\r\n\r\n":                                                307,
		"GET /r/ HTTP/1.1\r\nHost: a\r\n\r\n":                                                  404,
		"GET /r/a/b HTTP/1.1\r\nHost: a\r\n\r\n":                                               404,
		"GET /r/a? HTTP/1.1\r\nHost: a\r\n\r\n":                                                200,
		"GET /r/a?b#c HTTP/1.1\r\nHost: a\r\n\r\n":                                             200,
		"GET /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb":                           200,
		"HEAD /r/a HTTP/1.1\r\nHost: a\r\n\r\n":                                                200,
		"GET http://b/r/a HTTP/1.1\r\nHost: a\r\n\r\n":                                         200,
		"POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n":                             200,
		"POST /x?a=b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n":                         200,
		"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n":                                        400,
		"POST /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n":                  400,
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n":        400,
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na":                           400,
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\na":                           400,
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n folded\r\n\r\na":                 400,
		"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n": 200,
		plain + "Connection: close\r\n\r\nabc":                                                 200,
		plain + "Expect: 100-continue\r\n\r\nabc":                                              100,
		"POST /x HTTP/1.1\nHost: a\nContent-Length: 0\n\n":                                     200,
		"POST /x HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", 20<<10) + "\r\n\r\n":        431,
		"nonsense that is longer than HTTP/2's preface\r\n\r\n":                                400,
	} {
		conn, from := dialed(t, addr)
		write(t, conn, request)
		// Not the body: where net/http has not read all, a reset may end it.
		res, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		if res.StatusCode != want || res.Header.Get("By") == "express" {
			t.Errorf("%.60q: %s by %q, expected %d", request, res.Status, res.Header.Get("By"), want)
		}
		_ = res.Body.Close()
	}
}

// TestExpressClosesWhoTakesTooLong: nothing said, half a head, half a body,
// nothing more after an answer.
func TestExpressClosesWhoTakesTooLong(t *testing.T) {
	addr := expressServer(t, func(c *Config) {
		c.HeaderTimeout, c.ReadTimeout, c.IdleTimeout = 50*time.Millisecond, 100*time.Millisecond, 50*time.Millisecond
	})
	for _, said := range []string{"", plain, plain + "\r\na", plain + "\r\nabc"} {
		conn, from := dialed(t, addr)
		write(t, conn, said)
		if _, err := io.Copy(io.Discard, from); err != nil && errors.Is(err, net.ErrClosed) {
			t.Errorf("%q: %v", said, err)
		}
	}
}

// TestExpressEndsForWhoIsGone: a GET's context ends with its connection.
func TestExpressEndsForWhoIsGone(t *testing.T) {
	gone := make(chan string, 1)
	addr := expressServerOf(t, nil, gone)
	conn, _ := dialed(t, addr)
	write(t, conn, "GET /r/a HTTP/1.1\r\nHost: a\r\nX-Odd: until gone\r\n\r\n")
	_ = conn.Close()
	select {
	case of := <-gone:
		if of != "a" {
			t.Errorf("it ended for %q", of)
		}
	case <-t.Context().Done():
	}
}

func TestExpressTellsWhoIsNotHeardOut(t *testing.T) {
	addr := expressServer(t, nil)
	conn, from := dialed(t, addr)
	write(t, conn, "POST /x HTTP/1.1\r\nHost: a\r\nX-Odd: unread\r\nContent-Length: 100000000\r\n\r\n")
	res, _ := answered(t, from)
	if res.StatusCode != http.StatusRequestEntityTooLarge || res.Header.Get("By") != "express" || !res.Close {
		t.Fatalf("%s by %q, closes: %v", res.Status, res.Header.Get("By"), res.Close)
	}
	if _, err := from.ReadByte(); err == nil {
		t.Error("expected the end of the connection")
	}
}

// FuzzExpress: what express takes for plain, net/http reads likewise.
func FuzzExpress(f *testing.F) {
	f.Add([]byte(plain + "\r\nabc"))
	f.Add([]byte(plain + "connection: Keep-Alive\r\naccept: a\r\nAccept: b\r\nX-Odd:\t\r\n\r\nabcPOST"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost:a\r\nContent-Length:007\r\n\r\n1234567"))
	f.Add([]byte("GET /r/a-1?from=today&to=today HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nGET"))
	f.Add([]byte("GET /r/a HTTP/1.1\r\nHost: a\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		cfg := DefaultConfig()
		c := &expressConn{e: &express{cfg: &cfg, routes: expressRoutes([]string{"/x", "GET /r/{id}"})}, header: http.Header{}, in: bytes.Clone(in)}
		c.body.c = c
		if c.parse() != ours {
			return
		}
		if int64(len(c.in)) < c.body.left {
			return // net/http waits for the rest, too
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			t.Fatalf("express takes what net/http does not: %v", err)
		}
		if got, want := told(&c.request), told(want); got != want {
			t.Fatalf("express:\n%s\nnet/http:\n%s", got, want)
		}
		if diff := cmp.Diff(want.Header, c.request.Header); diff != "" {
			t.Fatal(diff)
		}
		if want.Close || len(want.TransferEncoding) > 0 {
			t.Fatal("not plain")
		}
	})
}

func TestKnownNamesAreCanonical(t *testing.T) {
	for as, known := range knownNames {
		if want := textproto.CanonicalMIMEHeaderKey(as); known != want {
			t.Errorf("%q is %q, expected %q", as, known, want)
		}
	}
}

// BenchmarkExpress and its twin send one small request after another over some
// connections; both count the client's own work, too.
func BenchmarkExpress(b *testing.B) { benchmarkPosts(b, "/x") }
func BenchmarkNetHTTP(b *testing.B) { benchmarkPosts(b, "/x?") }

func benchmarkPosts(b *testing.B, target string) {
	handle := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"accepted":1}`))
	}
	cfg := DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	p, err := NewProcess(b.Context(), cfg, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	at, err := p.Listen(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		_ = p.Serve(b.Context(), Function{
			Name: "a", Routes: func(mux *http.ServeMux) { mux.HandleFunc("/x", handle) }, Express: map[string]http.HandlerFunc{"/x": handle},
		})
	}()
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nContent-Length: 600\r\nContent-Type: application/json\r\n\r\n%600d", target, 1)
	b.ReportAllocs()
	b.SetParallelism(16)
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	defer func() {
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(used)/float64(b.N), "cpu-ns/op")
	}()
	b.RunParallel(func(pb *testing.PB) {
		conn, err := new(net.Dialer).Dial("tcp", at.String())
		if err != nil {
			b.Error(err)
			return
		}
		defer conn.Close()
		answer := make([]byte, 4<<10)
		for pb.Next() {
			if _, err := conn.Write(request); err != nil {
				b.Error(err)
				return
			}
			if n, err := conn.Read(answer); err != nil || !bytes.HasSuffix(answer[:n], []byte("}")) {
				b.Errorf("%q %v", answer[:n], err)
				return
			}
		}
	})
}
