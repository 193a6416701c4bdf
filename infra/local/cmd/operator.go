package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// operator calls the API of reprocess jobs.
type operator struct {
	target    string
	tokenFile string
	token     string
}

const (
	callTime  = 30 * time.Second
	copyTime  = 30 * time.Minute // a comparison in full may be long
	maxAnswer = 16 << 20
	maxTold   = 300 // bytes of an answer that is no problem of ours that an error repeats
)

// complete finds target and token where the flags do not name them. The data
// folder's token goes to the Footfall of the data folder only.
func (o *operator) complete(environ []string) error {
	ofFolder := o.target == ""
	data := local.DataDir(environ)
	if ofFolder {
		address, err := os.ReadFile(filepath.Join(data, "address"))
		if err != nil {
			return fmt.Errorf("cannot find a running Footfall (start it, or name one with -target): %w", err)
		}
		o.target = "http://" + string(bytes.TrimSpace(address))
	}
	u, err := url.Parse(o.target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("-target: expected an address such as https://footfall.example, got %q", o.target)
	}
	o.target = strings.TrimRight(o.target, "/")
	if o.tokenFile == "" {
		for _, kv := range environ {
			if token, found := strings.CutPrefix(kv, function.Prefix+"ADMIN_TOKEN="); found {
				o.token = token
			}
		}
		if o.token != "" {
			return nil
		}
		if !ofFolder {
			return fmt.Errorf("expected the operator's token in %sADMIN_TOKEN or -admin-token-file", function.Prefix)
		}
		o.tokenFile = filepath.Join(data, "admin-token")
	}
	kept, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return fmt.Errorf("cannot read the operator's token: %w", err)
	}
	o.token = strings.TrimSpace(string(kept))
	return nil
}

// call sends body as JSON and decodes the answer.
func (o *operator) call(ctx context.Context, method, path string, header http.Header, body, into any) error {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(data)
	}
	return o.do(ctx, callTime, method, path, "application/json", header, sent, func(answer io.Reader) error {
		if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(into); err != nil {
			return fmt.Errorf("cannot read the answer: %w", err)
		}
		return nil
	})
}

// copy writes the answer of a media type.
func (o *operator) copy(ctx context.Context, path, media string, out io.Writer) error {
	return o.do(ctx, copyTime, http.MethodGet, path, media, nil, nil, func(answer io.Reader) error {
		if _, err := io.Copy(out, answer); err != nil {
			return fmt.Errorf("cannot copy the answer: %w", err)
		}
		return nil
	})
}

func (o *operator) do(ctx context.Context, deadline time.Duration, method, path, media string, header http.Header, body io.Reader, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, o.target+"/v1/reprocess"+path, body)
	if err != nil {
		return err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	req.Header.Set("Accept", media)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return read(res.Body)
	}
	told, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	var p function.Problem
	if err != nil || json.Unmarshal(told, &p) != nil || p.Message == "" {
		p.Message = fmt.Sprintf("%q", told[:min(len(told), maxTold)])
	}
	return &refusalError{status: res.StatusCode, text: fmt.Sprintf("the server answered %s: %s", res.Status, p.Message)}
}

// refusalError is an answer that is an error.
type refusalError struct {
	status int
	text   string
}

func (r *refusalError) Error() string { return r.text }

// isAway reports whether a call may do better later: there was no answer, or
// one that says so.
func isAway(err error) bool {
	var r *refusalError
	if errors.As(err, &r) {
		return r.status >= http.StatusInternalServerError || r.status == fault.QuotaExceeded.Status()
	}
	var u *url.Error
	return errors.As(err, &u)
}
