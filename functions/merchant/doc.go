// Package merchant is the function through which merchants, their streams,
// settings and tokens are made and changed. What is valid and who may do it is
// package access's to say; this package turns requests into changes of the
// registry and marks for counting anew what a change touches.
package merchant
