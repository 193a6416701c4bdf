package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
	"github.com/footfall/footfall/shared/store"
)

// Stores are the stores of one Redis.
type Stores struct {
	Summaries store.Summaries
	Quotas    store.Quotas

	client *client
}

// client is what the stores share.
type client struct {
	redis.UniversalClient
	prefix  string
	timeout time.Duration
}

// How long the client waits before it tries again: doubling, with jitter. With
// the default of retries a server that restarts, or a Cluster's new master, is
// met within the same call.
const (
	minBackoff = 30 * time.Millisecond
	maxBackoff = 800 * time.Millisecond
)

// Open makes the stores. It speaks to nobody yet: connections are made by the
// first call that needs one, and again after they were lost.
func Open(cfg Config, log *slog.Logger) (*Stores, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("cannot open Redis: %w", err)
	}
	t, err := cfg.tls()
	if err != nil {
		return nil, fmt.Errorf("cannot open Redis: %w", err)
	}
	o := &redis.UniversalOptions{
		Addrs: cfg.Addrs, MasterName: cfg.Master, IsClusterMode: cfg.Mode == ModeCluster, DB: cfg.DB, TLSConfig: t,
		Username: cfg.Username, Password: cfg.Password.Reveal(),
		SentinelUsername: cfg.SentinelUsername, SentinelPassword: cfg.SentinelPassword.Reveal(),
		MaxRetries: retries(cfg.Retries), MaxRedirects: max(3, cfg.Retries), MinRetryBackoff: minBackoff, MaxRetryBackoff: maxBackoff,
		DialTimeout: cfg.DialTimeout, DialerRetries: 1, ReadTimeout: cfg.Timeout, WriteTimeout: cfg.Timeout, ContextTimeoutEnabled: true,
		PoolSize: cfg.PoolSize, MaxActiveConns: cfg.PoolSize, PoolTimeout: cfg.Timeout, PipelinePoolSize: -1,
		ConnMaxIdleTime: 5 * time.Minute, FailingTimeoutSeconds: 1,
		ClientName:               "footfall",
		DisableIdentity:          true, // older servers do not know CLIENT SETINFO
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if t != nil {
		o.Dialer = dialer(t, cfg.DialTimeout)
	}
	if log != nil {
		// The driver has one log for the whole process. Without this it writes
		// lines of its own form to standard error.
		redis.SetLogger(driverLog{log})
	}
	c := &client{UniversalClient: redis.NewUniversalClient(o), prefix: cfg.KeyPrefix, timeout: cfg.Timeout}
	return &Stores{Summaries: &summaries{c}, Quotas: &quotas{c}, client: c}, nil
}

// dialer makes connections with TLS. The driver's own does not end with its
// context.
func dialer(t *tls.Config, timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	tcp := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		raw, err := tcp.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		cfg := t
		if cfg.ServerName == "" {
			cfg = t.Clone()
			if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
				return nil, errors.Join(err, raw.Close())
			}
		}
		conn := tls.Client(function.HearAlerts(raw), cfg)
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = raw.Close() // it is of no use
			return nil, err
		}
		return conn, nil
	}
}

// retries is n as the driver takes it, for which zero means its default.
func retries(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// Ready tells whether Redis answers. A function that can do without, as the
// report function can (it counts from processed data), must not make its own
// readiness depend on it.
func (s *Stores) Ready(ctx context.Context) error {
	return s.client.within(ctx, "reach Redis", func(ctx context.Context) error {
		if c, ok := s.client.UniversalClient.(*redis.ClusterClient); ok {
			// Every master must answer: each has some of the merchants.
			return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() })
		}
		return s.client.Ping(ctx).Err()
	})
}

// Close lets all connections go. Calls under way fail.
func (s *Stores) Close(context.Context) error { return s.client.Close() }

// within gives fn the time of one round trip, and its error a kind.
func (c *client) within(ctx context.Context, verb string, fn func(ctx context.Context) error) error {
	err := ctx.Err()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		err = fn(ctx)
	}
	if err == nil || errors.As(err, new(*fault.Error)) {
		return err
	}
	return fault.New(fault.Transient, "cannot %s: %w", verb, err)
}

// driverLog passes on what the driver says: addresses and states, no data.
type driverLog struct{ log *slog.Logger }

func (l driverLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis client", "says", fmt.Sprintf(format, args...))
}
