// Package function runs functions: the HTTP server with its health, metrics
// and draining, the receiver of CloudEvents, the environment's configuration,
// and the form of answers. A function's own process and the local runner use
// the same code, the one with a single Function, the other with all of them.
//
// Requests to the few paths that get most of them are read and answered without
// net/http, as long as they are plain (see express); all others go to it.
package function
