package agent

import "os"

// systemRoots is the node's metadata for the file that has the system's authorities, by which proxies check servers outside of the mesh.
const systemRoots = "LATEEN_SYSTEM_ROOTS"

// usualRoots is where the control plane believes that file to be when nobody says otherwise.
const usualRoots = "/etc/ssl/certs/ca-certificates.crt"

// rootsFiles are where systems have their authorities, the usual one first (crypto/x509, root_linux.go).
var rootsFiles = [...]string{
	usualRoots,
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7
	"/etc/ssl/cert.pem",                                 // Alpine
}

// findSystemRoots is the file of the system's authorities: SSL_CERT_FILE, by which Go's and OpenSSL's programs are told another, else the first that there is. "" when that is the
// usual one, or none.
func findSystemRoots(variable string, exists func(string) bool) string {
	if variable != "" {
		return variable
	}
	for _, file := range rootsFiles {
		if exists(file) {
			if file == usualRoots {
				return ""
			}
			return file
		}
	}
	return ""
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
