package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/pkg/log"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/sample"
)

// newSampleCommand returns `lateen sample`: the shop's apps, and the switches that make them misbehave.
func newSampleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sample",
		Short: "Make the apps of the sample shop fail or slow down, see what they received, run one, or make a certificate to try TLS with",
	}
	cmd.AddCommand(newSampleFaultCommand(), newSampleRequestsCommand(), newSampleServeCommand(), newSampleCertificateCommand())
	return cmd
}

func newSampleFaultCommand() *cobra.Command {
	var app, version string
	var fault sample.Fault
	var off bool
	cmd := &cobra.Command{
		Use:   "fault --app APP [--version VERSION] (--rate R [--status CODE] [--delay D] | --off)",
		Short: "Tell an app of the running demo to fail or to be slow",
		Example: `  lateen sample fault --app catalog --version v1 --rate 0.5 --status 500
  lateen sample fault --app forum --delay 2s --rate 1
  lateen sample fault --app catalog --off`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if off {
				fault = sample.Fault{}
			} else if !cmd.Flags().Changed("rate") {
				return fmt.Errorf("say how many requests are concerned with --rate, 0 to 1, or end a fault with --off")
			}
			if err := fault.Validate(); err != nil {
				return err
			}
			apps, err := findApps(stateDir(cmd), app, version)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			for _, a := range apps {
				if err := sample.SetFault(ctx, a.Address, fault); err != nil {
					return fmt.Errorf("%s: %w", a.Name, err)
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", a.Name, describeFault(fault)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "app: webapp, catalog, forum or users")
	cmd.Flags().StringVar(&version, "version", "", "version of the app; all versions when empty")
	cmd.Flags().Float64Var(&fault.Rate, "rate", 0, "share of the requests, 0 to 1")
	cmd.Flags().IntVar(&fault.Status, "status", 0, "status to answer with; 0 answers as ever")
	cmd.Flags().DurationVar(&fault.Delay, "delay", 0, "time to wait before the answer, such as 2s")
	cmd.Flags().BoolVar(&off, "off", false, "behave again")
	_ = cmd.MarkFlagRequired("app") // fails only for a flag that does not exist
	return cmd
}

func describeFault(f sample.Fault) string {
	if f.Rate == 0 {
		return "behaves"
	}
	var parts []string
	if f.Delay > 0 {
		parts = append(parts, "waits "+f.Delay.String())
	}
	if f.Status != 0 {
		parts = append(parts, "answers "+strconv.Itoa(f.Status))
	}
	return fmt.Sprintf("%s for %g %% of the requests", strings.Join(parts, " and "), 100*f.Rate)
}

// findApps returns the running apps with these labels.
func findApps(dir, app, version string) ([]runfile.App, error) {
	run, err := runfile.Read(dir)
	if err != nil {
		return nil, err
	}
	var found []runfile.App
	var known []string
	for _, a := range run.Apps {
		if a.App == app && (version == "" || a.Version == version) {
			found = append(found, a)
		}
		known = append(known, strings.TrimSuffix(a.App+" "+a.Version, " "))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no app %q runs; there are: %s", strings.TrimSuffix(app+" "+version, " "), strings.Join(known, ", "))
	}
	return found, nil
}

func newSampleRequestsCommand() *cobra.Command {
	var app, version string
	var last int
	cmd := &cobra.Command{
		Use:   "requests --app APP [--version VERSION] [--last N]",
		Short: "Show the requests that an app of the running demo has received, as JSON",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			apps, err := findApps(stateDir(cmd), app, version)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			seen := map[string][]sample.Seen{}
			for _, a := range apps {
				if seen[a.Name], err = sample.Requests(ctx, a.Address, last); err != nil {
					return fmt.Errorf("%s: %w", a.Name, err)
				}
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(seen)
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "app: webapp, catalog, forum or users")
	cmd.Flags().StringVar(&version, "version", "", "version of the app; all versions when empty")
	cmd.Flags().IntVar(&last, "last", 10, "how many of the newest requests of each instance")
	_ = cmd.MarkFlagRequired("app") // fails only for a flag that does not exist
	return cmd
}

func newSampleServeCommand() *cobra.Command {
	var address, certificate, key string
	cmd := &cobra.Command{
		Use:       "serve APP",
		Short:     "Run one app of the shop: " + strings.Join(sample.Kinds(), ", "),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: sample.Kinds(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if address == "" {
				address = net.JoinHostPort("", strconv.Itoa(sample.DefaultPort(args[0])))
			}
			logger, err := log.New(cmd.ErrOrStderr(), new(log.Levels), "text")
			if err != nil {
				return err
			}
			return sample.Run(cmd.Context(), sample.Config{
				Kind: args[0], Address: address, Certificate: certificate, Key: key, Getenv: os.Getenv, Logger: log.Scope(logger, args[0]),
			})
		},
	}
	cmd.Flags().StringVar(&address, "address", "", "IP:PORT to listen on (default all addresses and the app's own port)")
	cmd.Flags().StringVar(&certificate, "certificate", "", "file with a certificate, with which the app ends TLS itself")
	cmd.Flags().StringVar(&key, "key", "", "file with the certificate's key")
	cmd.MarkFlagsRequiredTogether("certificate", "key")
	return cmd
}
