package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/footfall/footfall/shared/fault"
	"github.com/footfall/footfall/shared/function"
)

// Security is how the client and Kafka prove to each other who they are, in
// the terms of the secret that a Knative Kafka Broker is given: protocol,
// sasl.mechanism, user and password as variables, ca.crt, user.crt and
// user.key as files of the mounted secret. The zero value is PLAINTEXT.
type Security struct {
	Protocol  string          `env:"KAFKA_PROTOCOL" envDefault:"PLAINTEXT"` // or SSL, SASL_PLAINTEXT, SASL_SSL
	Mechanism string          `env:"KAFKA_SASL_MECHANISM"`                  // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string          `env:"KAFKA_SASL_USER"`
	Password  function.Secret `env:"KAFKA_SASL_PASSWORD"`
	CAFile    string          `env:"KAFKA_TLS_CA_FILE"`   // PEM; the system's authorities where it is empty
	CertFile  string          `env:"KAFKA_TLS_CERT_FILE"` // PEM; read again for each connection, so that it may be renewed
	KeyFile   string          `env:"KAFKA_TLS_KEY_FILE"`  // PEM
}

const (
	plaintext     = "PLAINTEXT"
	ssl           = "SSL"
	saslPlaintext = "SASL_PLAINTEXT"
	saslSSL       = "SASL_SSL"
)

func (s *Security) encrypted() bool     { return s.Protocol == ssl || s.Protocol == saslSSL }
func (s *Security) authenticated() bool { return s.Protocol == saslPlaintext || s.Protocol == saslSSL }

// Validate fills in defaults and reports all faults.
func (s *Security) Validate() error {
	var errs []error
	expect := func(ok bool, name, expected string) {
		if !ok {
			errs = append(errs, fault.Field(function.Prefix+name, expected))
		}
	}
	if s.Protocol == "" {
		s.Protocol = plaintext
	}
	protocols := []string{plaintext, ssl, saslPlaintext, saslSSL}
	if !slices.Contains(protocols, s.Protocol) {
		expect(false, "KAFKA_PROTOCOL", strings.Join(protocols, ", "))
		return errors.Join(errs...)
	}
	if s.authenticated() {
		expect(s.Mechanism == "PLAIN" || s.Mechanism == scram.SHA256.Name() || s.Mechanism == scram.SHA512.Name(),
			"KAFKA_SASL_MECHANISM", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 with the protocol "+s.Protocol)
		expect(s.User != "", "KAFKA_SASL_USER", "a name with the protocol "+s.Protocol)
		expect(s.Password != "", "KAFKA_SASL_PASSWORD", "a password with the protocol "+s.Protocol)
	} else {
		// What is not used is a mistake, and mostly one that sends in the
		// clear what was to be protected.
		expect(s.Mechanism == "" && s.User == "" && s.Password == "", "KAFKA_SASL_*", "nothing with the protocol "+s.Protocol)
	}
	if s.encrypted() {
		if _, err := s.tls(); err != nil {
			errs = append(errs, err)
		}
	} else {
		expect(s.CAFile == "" && s.CertFile == "" && s.KeyFile == "", "KAFKA_TLS_*", "nothing with the protocol "+s.Protocol)
	}
	return errors.Join(errs...)
}

// tls is the configuration of encrypted connections; nil for others.
func (s *Security) tls() (*tls.Config, error) {
	if !s.encrypted() {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if err := (function.TLSFiles{Variables: "KAFKA_TLS_", CA: s.CAFile, Cert: s.CertFile, Key: s.KeyFile}).Apply(t); err != nil {
		return nil, err
	}
	return t, nil
}

// sasl is the way to log in; nil where there is none.
func (s *Security) sasl() (sasl.Mechanism, error) {
	switch {
	case !s.authenticated():
		return nil, nil
	case s.Mechanism == "PLAIN":
		return plain.Mechanism{Username: s.User, Password: s.Password.Reveal()}, nil
	}
	algorithm := scram.SHA256
	if s.Mechanism == scram.SHA512.Name() {
		algorithm = scram.SHA512
	}
	m, err := scram.Mechanism(algorithm, s.User, s.Password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("cannot use the user %q and its password with %s: %w", s.User, s.Mechanism, err)
	}
	return m, nil
}
