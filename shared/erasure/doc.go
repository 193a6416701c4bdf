// Package erasure knows what the erasure of a person is: whom it is about, how
// far it has come, and the proof of what was removed. The merchant function takes
// the wish, function reprocess does the work, store.Erasures keeps both.
package erasure
