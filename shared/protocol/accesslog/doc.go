// Package accesslog turns the access logs of web servers into events: lines of
// the combined format that Apache's and nginx's defaults write
// (https://httpd.apache.org/docs/2.4/logs.html#combined). It is pure; reading
// files and sending are the importer's.
package accesslog
