package format

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// timeOp prints a point in time: START_TIME, EMIT_TIME and their arguments, strftime with
// Envoy's additions (%f, %3f, %E3S, %s).
type timeOp struct {
	steps []timeStep
	local bool
	at    func(*Context) (time.Time, bool)
}

type timeStep struct {
	text string // literal
	verb byte   // 0: literal
	n    int    // digits of a fraction
}

// defaultTime is Envoy's default, "2025-04-18T13:27:57.178Z".
const defaultTime = "%Y-%m-%dT%H:%M:%E3SZ"

func newTimeOp(arg string, local bool, at func(*Context) (time.Time, bool)) (operator, error) {
	if arg == "" {
		arg = defaultTime
	}
	op := &timeOp{at: at, local: local}
	lit := ""
	for i := 0; i < len(arg); i++ {
		if arg[i] != '%' {
			lit += arg[i : i+1]
			continue
		}
		s, n, err := parseTimeVerb(arg[i+1:])
		if err != nil {
			return nil, err
		}
		i += n
		if s.verb == '%' {
			lit += "%"
			continue
		}
		if lit != "" {
			op.steps = append(op.steps, timeStep{text: lit})
			lit = ""
		}
		op.steps = append(op.steps, s)
	}
	if lit != "" {
		op.steps = append(op.steps, timeStep{text: lit})
	}
	return op, nil
}

// timeVerbs are strftime's conversions that are known.
const timeVerbs = "%aAbBcdDeFgGHhIjklmMnpPrRsStTuVwyYzZf"

// parseTimeVerb reads what follows a percent sign and returns its length.
func parseTimeVerb(s string) (timeStep, int, error) {
	if s == "" {
		return timeStep{}, 0, errors.New("time format ends in a lone %")
	}
	// %E3S, %E*S: seconds with a fraction. %3f: a fraction alone.
	if len(s) >= 3 && s[0] == 'E' && s[2] == 'S' && (s[1] == '*' || s[1] >= '0' && s[1] <= '9') {
		if s[1] == '*' {
			return timeStep{verb: 'E', n: 9}, 3, nil
		}
		return timeStep{verb: 'E', n: int(s[1] - '0')}, 3, nil
	}
	if len(s) >= 2 && s[0] >= '1' && s[0] <= '9' && s[1] == 'f' {
		return timeStep{verb: 'f', n: int(s[0] - '0')}, 2, nil
	}
	if strings.IndexByte(timeVerbs, s[0]) < 0 {
		return timeStep{}, 0, errors.New("time format: %" + s[:1] + " is not supported")
	}
	return timeStep{verb: s[0], n: 9}, 1, nil
}

func (o *timeOp) append(dst []byte, c *Context) ([]byte, bool) {
	t, ok := o.at(c)
	if !ok {
		return dst, false
	}
	if o.local {
		t = t.Local()
	} else {
		t = t.UTC()
	}
	var p civil
	p.year, p.month, p.day = t.Date()
	p.hour, p.minute, p.second = t.Clock()
	p.Time = t
	for i := range o.steps {
		dst = o.steps[i].append(dst, &p)
	}
	return dst, true
}

// civil is a time taken apart once: a format asks for most of the parts.
type civil struct {
	time.Time
	year                      int
	month                     time.Month
	day, hour, minute, second int
}

func (s *timeStep) append(dst []byte, t *civil) []byte {
	switch s.verb {
	case 0:
		return append(dst, s.text...)
	case 'Y':
		return pad(dst, t.year, 4, '0')
	case 'm':
		return pad(dst, int(t.month), 2, '0')
	case 'd':
		return pad(dst, t.day, 2, '0')
	case 'H':
		return pad(dst, t.hour, 2, '0')
	case 'M':
		return pad(dst, t.minute, 2, '0')
	case 'S':
		return pad(dst, t.second, 2, '0')
	case 'E':
		dst = pad(dst, t.second, 2, '0')
		if s.n > 0 {
			dst = fraction(append(dst, '.'), t.Nanosecond(), s.n)
		}
		return dst
	case 'f':
		return fraction(dst, t.Nanosecond(), s.n)
	case 's':
		return strconv.AppendInt(dst, t.Unix(), 10)
	case 'e':
		return pad(dst, t.day, 2, ' ')
	case 'k':
		return pad(dst, t.hour, 2, ' ')
	case 'I':
		return pad(dst, (t.hour+11)%12+1, 2, '0')
	case 'l':
		return pad(dst, (t.hour+11)%12+1, 2, ' ')
	case 'j':
		return pad(dst, t.YearDay(), 3, '0')
	case 'y':
		return pad(dst, t.year%100, 2, '0')
	case 'u':
		return append(dst, byte('0'+(t.Weekday()+6)%7+1))
	case 'w':
		return append(dst, byte('0'+t.Weekday()))
	case 'G':
		y, _ := t.ISOWeek()
		return pad(dst, y, 4, '0')
	case 'g':
		y, _ := t.ISOWeek()
		return pad(dst, y%100, 2, '0')
	case 'V':
		_, w := t.ISOWeek()
		return pad(dst, w, 2, '0')
	case 'n':
		return append(dst, '\n')
	case 't':
		return append(dst, '\t')
	}
	return t.AppendFormat(dst, timeLayout(s.verb))
}

// timeLayout is the layout of the conversions that Go's time package knows.
func timeLayout(verb byte) string {
	switch verb {
	case 'a':
		return "Mon"
	case 'A':
		return "Monday"
	case 'b', 'h':
		return "Jan"
	case 'B':
		return "January"
	case 'c':
		return "Mon Jan _2 15:04:05 2006"
	case 'D':
		return "01/02/06"
	case 'F':
		return "2006-01-02"
	case 'p':
		return "PM"
	case 'P':
		return "pm"
	case 'r':
		return "03:04:05 PM"
	case 'R':
		return "15:04"
	case 'T':
		return "15:04:05"
	case 'z':
		return "-0700"
	}
	return "MST"
}

func pad(dst []byte, n, width int, with byte) []byte {
	for p := 10; width > 1; p, width = p*10, width-1 {
		if n < p {
			for range width - 1 {
				dst = append(dst, with)
			}
			break
		}
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// fraction appends the first n digits of nanoseconds.
func fraction(dst []byte, ns, n int) []byte {
	p := 100_000_000
	for range min(n, 9) {
		dst = append(dst, byte('0'+ns/p%10))
		p /= 10
	}
	return dst
}
