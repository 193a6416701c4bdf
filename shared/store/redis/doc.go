// Package redis keeps summaries and quotas in Redis: on one server, on a
// master that Sentinels watch over, or in a Cluster. It is a cache: whatever is
// lost of it is made again from processed data, so no call waits for a disk or
// a replica. shared/docs/formats/redis.md says what stands under which key.
package redis
