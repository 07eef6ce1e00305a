package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// newRootCACommand returns `lateen root-ca`.
func newRootCACommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "root-ca",
		Short: "Show the mesh's certificate authority, or replace its root",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newRootCAStatusCommand(), newRootCARotateCommand())
	return cmd
}

// authorityDebug asks the control plane what signs.
func authorityDebug(cmd *cobra.Command, address string) (meshDebug, error) {
	if address != "" {
		return meshDebug{address: address}, nil
	}
	run, err := runfile.Read(stateDir(cmd))
	if err != nil {
		return meshDebug{}, err
	}
	return meshDebug{address: run.Debug}, nil
}

func (m meshDebug) authority(ctx context.Context) (controlplane.AuthorityStatus, error) {
	var s controlplane.AuthorityStatus
	raw, err := m.get(ctx, "/debug/ca", nil)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("answer of the control plane: %w", err)
	}
	return s, nil
}

func newRootCAStatusCommand() *cobra.Command {
	var output, address string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show what signs workloads' certificates and which roots are trusted",
		Example: "  lateen root-ca status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("output format %q is not known: use json, or leave -o out", output)
			}
			m, err := authorityDebug(cmd, address)
			if err != nil {
				return err
			}
			s, err := m.authority(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			return printAuthority(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	cmd.Flags().StringVar(&address, "xds-debug-address", "", "HTTP address of the control plane (default: that of the mesh in --state-dir)")
	return cmd
}

func printAuthority(out io.Writer, s controlplane.AuthorityStatus) error {
	w := tabwriter.NewWriter(out, 0, 8, 5, ' ', 0)
	fmt.Fprintln(w, "CERTIFICATE\tSERIAL NUMBER\tNOT AFTER\tROLE")
	row := func(c controlplane.AuthorityCertificate, role string) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Subject, c.Serial, c.NotAfter.UTC().Format(time.RFC3339), role)
	}
	row(s.Signer, "signs")
	if s.Next != nil {
		row(*s.Next, "signs next, once all proxies trust its root")
	}
	for _, c := range s.Roots {
		if c.TrustedUntil != nil {
			row(c, "trusted until "+c.TrustedUntil.UTC().Format(time.RFC3339))
		} else {
			row(c, "trusted")
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch {
	case s.NextTrustDomain != "":
		fmt.Fprintf(out, "Trust domain %s, %s once all proxies know it.", s.TrustDomain, s.NextTrustDomain)
	default:
		fmt.Fprintf(out, "Trust domain %s.", s.TrustDomain)
	}
	if len(s.FormerTrustDomains) > 0 {
		fmt.Fprintf(out, " Certificates of %s may still be good.", strings.Join(s.FormerTrustDomains, ", "))
	}
	fmt.Fprintln(out)
	return nil
}

func newRootCARotateCommand() *cobra.Command {
	var dir, address string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the self-signed root of the mesh, without a request that fails",
		Long: "Replace the self-signed root of the mesh. The control plane tells every proxy to trust the new root, then signs with it, and has the old root\n" +
			"trusted until the last certificate issued under it has ended. The command returns when the new root signs.\n\n" +
			"An authority that another has signed gets new files instead: put root-cert.pem, ca-cert.pem, ca-key.pem and cert-chain.pem into its folder.",
		Example: "  lateen root-ca rotate\n  lateen root-ca rotate --ca-dir /var/lib/lateen/ca --xds-debug-address 127.0.0.1:15014",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				dir = filepath.Join(stateDir(cmd), "ca")
			}
			m, err := authorityDebug(cmd, address)
			running := !errors.Is(err, runfile.ErrNotRunning)
			if err != nil && running {
				return err
			}
			serial, err := controlplane.ReplaceRoot(dir)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "new root %s in %s\n", serial, dir)
			if !running {
				fmt.Fprintln(cmd.OutOrStdout(), "no mesh runs; the new root signs from its next start")
				return nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			s, err := m.awaitSigner(ctx, serial)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "every proxy trusts it, and it signs")
			return printAuthority(cmd.OutOrStdout(), s)
		},
	}
	cmd.Flags().StringVar(&dir, "ca-dir", "", "folder of the certificate authority (default STATE/ca)")
	cmd.Flags().StringVar(&address, "xds-debug-address", "", "HTTP address of the control plane (default: that of the mesh in --state-dir)")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait until the new root signs")
	return cmd
}

// awaitSigner waits until the certificate with a serial number signs.
func (m meshDebug) awaitSigner(ctx context.Context, serial string) (controlplane.AuthorityStatus, error) {
	pause := pollFirst
	for {
		s, err := m.authority(ctx)
		if err == nil && s.Signer.Serial == serial {
			return s, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			if err != nil {
				return s, err
			}
			return s, fmt.Errorf("the new root does not sign yet: proxies that do not say that they trust it are waited for. The control plane goes on; " +
				"see `lateen root-ca status` and its log")
		case <-timer.C:
		}
		pause = min(pause*3/2, pollMost)
	}
}
