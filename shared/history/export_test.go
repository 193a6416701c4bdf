package history

import "slices"

// Frozen reports whether an hour of the clock, by its first instant, is said to be what it
// was told to be last, and not counted.
func (s *Snapshot) Frozen(from int64) bool { return slices.Contains(s.frozen, from) }
