package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/sample"
)

// newSampleCertificateCommand returns `lateen sample certificate`, which makes what TLS at the gateway is tried out with.
func newSampleCertificateCommand() *cobra.Command {
	var dir, secret, namespace string
	var mutual bool
	cmd := &cobra.Command{
		Use:   "certificate NAME [--dir DIR] [--secret SECRET [--mutual]]",
		Short: "Make a certificate for a host or a client, to try TLS with",
		Long: `Makes a certificate for a host name, or for a client of that name, signed by an authority of the folder's own, which is made when it is
missing. Writes NAME.pem and NAME.key beside ca.pem. With --secret it prints a Secret with them, for lateen apply.

The authority's key lies in the same folder: this is for trying things out.`,
		Example: `  lateen sample certificate webapp.istioinaction.io --secret webapp-credential | lateen apply -f -
  lateen sample certificate alice`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := sample.MakeCertificate(dir, args[0])
			if err != nil {
				return err
			}
			if secret == "" {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s, %s, signed by %s\n", c.ChainFile, c.KeyFile, c.AuthorityFile)
				return err
			}
			return printSecret(cmd.OutOrStdout(), namespace, secret, c, mutual)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "certificates", "folder of the authority and its certificates")
	cmd.Flags().StringVar(&secret, "secret", "", "print a Secret of this name")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "istio-system", "the Secret's namespace, which is that of the gateway")
	cmd.Flags().BoolVar(&mutual, "mutual", false, "put the authority into the Secret as well, for clients' certificates (mode MUTUAL)")
	return cmd
}

func printSecret(out io.Writer, namespace, name string, c *sample.Certificate, mutual bool) error {
	s := corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: c.Chain, corev1.TLSPrivateKeyKey: c.Key},
	}
	if mutual {
		s.Data["ca.crt"] = c.Authority
	}
	text, err := yaml.Marshal(s)
	if err != nil {
		return fmt.Errorf("write the Secret: %w", err)
	}
	_, err = out.Write(text)
	return err
}
