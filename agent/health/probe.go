package health

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Probe is an istio.networking.v1alpha3.ReadinessProbe. Field names are those of its YAML.
type Probe struct {
	InitialDelaySeconds int32 `yaml:"initialDelaySeconds"`
	TimeoutSeconds      int32 `yaml:"timeoutSeconds"`   // default 1
	PeriodSeconds       int32 `yaml:"periodSeconds"`    // default 10
	SuccessThreshold    int32 `yaml:"successThreshold"` // default 1
	FailureThreshold    int32 `yaml:"failureThreshold"` // default 1

	// One of these is set.
	HTTPGet   *HTTPGet   `yaml:"httpGet"`
	TCPSocket *TCPSocket `yaml:"tcpSocket"`
	Exec      *Exec      `yaml:"exec"`
	GRPC      *GRPC      `yaml:"grpc"`
}

// HTTPGet is well when a page is answered with a status of 200 to 399.
type HTTPGet struct {
	Path        string   `yaml:"path"` // default /
	Port        uint32   `yaml:"port"`
	Host        string   `yaml:"host"`   // default localhost
	Scheme      string   `yaml:"scheme"` // HTTP (default) or HTTPS, whose certificate is not checked
	HTTPHeaders []Header `yaml:"httpHeaders"`
}

// Header is sent with a probe; Host replaces the request's.
type Header struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

// TCPSocket is well when a connection comes about.
type TCPSocket struct {
	Host string `yaml:"host"` // default localhost
	Port uint32 `yaml:"port"`
}

// Exec is well when a command ends with code 0.
type Exec struct {
	Command []string `yaml:"command"`
}

// GRPC is well when grpc.health.v1 says SERVING.
type GRPC struct {
	Port    uint32 `yaml:"port"`
	Service string `yaml:"service"`
}

// Validate says what is wrong with a probe.
func (p *Probe) Validate() error {
	var errs []error
	for name, v := range map[string]int32{
		"initialDelaySeconds": p.InitialDelaySeconds, "timeoutSeconds": p.TimeoutSeconds, "periodSeconds": p.PeriodSeconds,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", name, v))
		}
	}
	port := func(field string, n uint32) {
		if n == 0 || n > 65535 {
			errs = append(errs, fmt.Errorf("%s.port: %d is no port", field, n))
		}
	}
	ways := 0
	if g := p.HTTPGet; g != nil {
		ways++
		port("httpGet", g.Port)
		if s := strings.ToUpper(g.Scheme); s != "" && s != "HTTP" && s != "HTTPS" {
			errs = append(errs, fmt.Errorf("httpGet.scheme: %q is neither HTTP nor HTTPS", g.Scheme))
		}
	}
	if p.TCPSocket != nil {
		ways++
		port("tcpSocket", p.TCPSocket.Port)
	}
	if p.Exec != nil {
		ways++
		if len(p.Exec.Command) == 0 {
			errs = append(errs, errors.New("exec.command: missing; name a program"))
		}
	}
	if p.GRPC != nil {
		ways++
		port("grpc", p.GRPC.Port)
	}
	if ways != 1 {
		errs = append(errs, fmt.Errorf("%d ways to probe; want one of httpGet, tcpSocket, exec and grpc", ways))
	}
	return errors.Join(errs...)
}

func seconds(n, byDefault int32) time.Duration {
	if n == 0 {
		n = byDefault
	}
	return time.Duration(n) * time.Second
}

// threshold is how many answers in a row count.
func threshold(n int32) int { return int(max(n, 1)) }
