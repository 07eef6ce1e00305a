package validate

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// atLeast is what a duration must reach.
type atLeast int

const (
	notNegative atLeast = iota
	positive
	atLeastMillisecond
)

// duration checks a duration that may be unset.
func (c *checker) duration(p *field.Path, d *durationpb.Duration, least atLeast) {
	if d == nil {
		return
	}
	v := d.AsDuration()
	switch {
	case v < 0:
		c.add(p, "%s is negative; use a positive duration such as 10s", v)
	case least == positive && v == 0:
		c.add(p, "zero is not allowed; use a positive duration such as 10s")
	case least == atLeastMillisecond && v < time.Millisecond:
		c.add(p, "%s is too short; the least is 1ms", v)
	}
}

// port checks a port number. Zero is an error unless it stands for "not set".
func (c *checker) port(p *field.Path, port int64, zeroIsUnset bool) {
	if port == 0 && zeroIsUnset {
		return
	}
	if port < 1 || port > 65535 {
		c.add(p, "%d is not a port; use 1 to 65535", port)
	}
}
