// Package importer is the engine of "footfall import": it reads a web server's
// access log, sends its page requests as events to a running Footfall, and goes
// on where it was interrupted.
//
// An event's id follows from its line, so that sending a line again changes no
// number. All that an import remembers is therefore how far every line was
// answered; losing that costs time and nothing else.
package importer
