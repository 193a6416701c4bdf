package kafka_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/footfall/footfall/shared/broker/kafka"
	"github.com/footfall/footfall/shared/certtest"
	"github.com/footfall/footfall/shared/fault"
)

// tlsOf is the TLS configuration of a Kafka on the loopback interface that
// asks for its clients' certificates.
func tlsOf(t testing.TB, ca *certtest.Authority) *tls.Config {
	t.Helper()
	p := ca.Server("server", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: ca.Pool(), ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12}
}

// Every way to log in publishes, and reads in a group, with the right secret;
// with a wrong one it says so and does not hang.
func TestSecurity(t *testing.T) {
	ca, strangers := certtest.New(t), certtest.New(t)
	user, stranger := ca.Client("user"), strangers.Client("user")
	for _, c := range []struct {
		name   string
		server []kfake.Opt
		right  kafka.Security
		wrong  kafka.Security
	}{
		{
			"SASL_PLAINTEXT with PLAIN",
			[]kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "footfall", "hush")},
			kafka.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", User: "footfall", Password: "hush"},
			kafka.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "PLAIN", User: "footfall", Password: "loud"},
		},
		{
			"SASL_SSL with SCRAM-SHA-256",
			[]kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "footfall", "hush"), kfake.TLS(tlsOf(t, ca))},
			kafka.Security{Protocol: "SASL_SSL", Mechanism: "SCRAM-SHA-256", User: "footfall", Password: "hush", CAFile: ca.CAFile},
			kafka.Security{Protocol: "SASL_SSL", Mechanism: "SCRAM-SHA-256", User: "footfall", Password: "loud", CAFile: ca.CAFile},
		},
		{
			"SASL_SSL with SCRAM-SHA-512",
			[]kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "footfall", "hush"), kfake.TLS(tlsOf(t, ca))},
			kafka.Security{Protocol: "SASL_SSL", Mechanism: "SCRAM-SHA-512", User: "footfall", Password: "hush", CAFile: ca.CAFile},
			kafka.Security{Protocol: "SASL_SSL", Mechanism: "SCRAM-SHA-512", User: "footfall", Password: "hush", CAFile: strangers.CAFile},
		},
		{
			"SSL with a client's certificate",
			[]kfake.Opt{kfake.TLS(tlsOf(t, ca))},
			kafka.Security{Protocol: "SSL", CAFile: ca.CAFile, CertFile: user.CertFile, KeyFile: user.KeyFile},
			kafka.Security{Protocol: "SSL", CAFile: ca.CAFile, CertFile: stranger.CertFile, KeyFile: stranger.KeyFile},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := kfake.NewCluster(append(c.server, kfake.NumBrokers(1), kfake.SeedTopics(2, "t"), kfake.GroupMinSessionTimeout(100*time.Millisecond))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(k.Close)
			right := client(t, k, kafka.Config{Security: c.right})
			if err := right.Produce(within(t, 10*time.Second), "t", message("a", "1"), message("b", "2")); err != nil {
				t.Fatal(err)
			}
			m := newMember()
			join(t, right, "g", "t", m)
			m.until(t, func() bool { return len(m.records) == 2 })

			wrong := client(t, k, kafka.Config{Security: c.wrong})
			if err := wrong.Produce(within(t, time.Second), "t", message("a", "3")); !fault.Is(err, fault.Transient) {
				t.Errorf("with a wrong secret: %v", err)
			}
			if err := client(t, k, kafka.Config{}).Produce(within(t, time.Second), "t", message("a", "4")); err == nil {
				t.Error("in the clear it works as well")
			}
			ends, err := right.Ends(within(t, 5*time.Second), "t")
			if err != nil || ends[0]+ends[1] != 2 {
				t.Errorf("ends %v, %v", ends, err)
			}
		})
	}
}

func TestSecurityReportsEveryFault(t *testing.T) {
	for _, c := range []struct {
		s    kafka.Security
		want []string
	}{
		{kafka.Security{Protocol: "TLS"}, []string{"FOOTFALL_KAFKA_PROTOCOL"}},
		{kafka.Security{User: "u"}, []string{"KAFKA_SASL_*"}},
		{kafka.Security{CAFile: "f"}, []string{"KAFKA_TLS_*"}},
		{kafka.Security{Protocol: "SASL_SSL", CertFile: "c"}, []string{"KAFKA_SASL_MECHANISM", "KAFKA_SASL_USER", "KAFKA_SASL_PASSWORD", "KAFKA_TLS_CERT_FILE"}},
		{kafka.Security{Protocol: "SASL_PLAINTEXT", Mechanism: "GSSAPI", User: "u", Password: "hush"}, []string{"KAFKA_SASL_MECHANISM"}},
	} {
		err := c.s.Validate()
		if err == nil {
			t.Errorf("%+v: no fault", c.s)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %q is not in %v", c.s, want, err)
			}
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("the password is told: %v", err)
		}
	}
	if _, err := kafka.New(kafka.Config{Brokers: []string{"h:1"}, Security: kafka.Security{Protocol: "SSL", CAFile: "/nowhere"}}); err == nil {
		t.Error("a file that is missing is no fault")
	}
}

func TestDescribeTopics(t *testing.T) {
	c, _, topic, _ := server(t)
	topics, nodes, err := c.DescribeTopics(within(t, 5*time.Second), topic)
	if err != nil || len(topics) != 0 || nodes < 1 {
		t.Errorf("missing: %v, %d nodes, %v", topics, nodes, err)
	}
	if err := c.EnsureTopics(within(t, 10*time.Second), kafka.Topic{Name: topic, Partitions: 3, ReplicationFactor: 1,
		Config: map[string]string{kafka.SettingMaxMessageBytes: "2000000", kafka.SettingRetention: "3600000"}}); err != nil {
		t.Fatal(err)
	}
	topics, _, err = c.DescribeTopics(within(t, 5*time.Second), topic, topic+"-none")
	if err != nil {
		t.Fatal(err)
	}
	s, ok := topics[topic]
	if !ok || len(topics) != 1 || s.Partitions != 3 || s.ReplicationFactor != 1 ||
		s.Config[kafka.SettingMaxMessageBytes] != "2000000" || s.Config[kafka.SettingRetention] != "3600000" || s.Config[kafka.SettingCleanup] == "" {
		t.Errorf("got %+v", topics)
	}
}
