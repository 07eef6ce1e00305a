// Package bookinfo holds the manifests of the sample Bookinfo, under the names that users of Istio know them by, for tests to apply.
// `lateen up samples/bookinfo` reads them from the folder.
//
// The package reads no objects; config does. Anyone may import it.
package bookinfo

import "embed"

// FS holds all manifests by their path below samples/bookinfo, for example networking/virtual-service-all-v1.yaml.
//
//go:embed lateen.yaml platform networking gateway-api
var FS embed.FS
