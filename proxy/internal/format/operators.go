package format

import "errors"

// newOperator returns the operator of a name.
func newOperator(name, arg string, hasArg bool) (operator, error) {
	switch name {
	case "REQ":
		return newHeaderOp('q', arg, hasArg)
	case "RESP":
		return newHeaderOp('s', arg, hasArg)
	case "TRAILER":
		return newHeaderOp('t', arg, hasArg)
	}
	return nil, errors.New("is not supported")
}
