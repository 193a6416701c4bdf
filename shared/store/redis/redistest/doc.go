// Package redistest starts Redis servers for tests: on ports of their own, with
// their data in the test's folder, killed and started again as a test likes,
// and gone with it. Where there is no redis-server it skips the test.
package redistest
