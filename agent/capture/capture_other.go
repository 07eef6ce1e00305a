//go:build !linux

package capture

import "errors"

// Install says that there is no capture here.
func Install(Rules) (remove func() error, err error) {
	return nil, errors.New("capture: connections are redirected on Linux only; leave --capture-user out")
}
