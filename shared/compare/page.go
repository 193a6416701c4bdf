package compare

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"sync"
)

//go:embed page.html
var pageText string

var page = sync.OnceValues(func() (*template.Template, error) {
	return template.New("page.html").Parse(pageText)
})

// WriteHTML writes the report as a page that needs no scripts.
func (p *Report) WriteHTML(w io.Writer) error {
	t, err := page()
	if err == nil {
		err = t.Execute(w, struct {
			Heading, Reason, Says, LeftOut string
			Sections                       []section
		}{p.heading(), p.Job.Reason, p.Says(), p.leftOut(), p.sections()})
	}
	if err != nil {
		return fmt.Errorf("cannot write the comparison: %w", err)
	}
	return nil
}
