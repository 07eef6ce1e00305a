package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/agent/status"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/runner"
)

// ofToken fills in what the join token says of the workload and the flags do not: its namespace and service account.
func ofToken(cmd *cobra.Command, cfg *runner.Config) error {
	if cfg.TokenFile == "" {
		return nil
	}
	raw, err := os.ReadFile(cfg.TokenFile)
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	id, err := jointoken.Bearer(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil // another authority's, whose form is its own
	}
	if !cmd.Flags().Changed("namespace") {
		cfg.Namespace = id.Namespace
	}
	cfg.ServiceAccount = cmp.Or(cfg.ServiceAccount, id.ServiceAccount)
	return nil
}

// metricsOf says where the command's metrics are: as the flag says, else the variable.
func metricsOf(cfg *runner.Config, flag, variable string) (err error) {
	switch {
	case flag != "":
		if cfg.Metrics, err = status.ParseApplication(flag); err != nil {
			return fmt.Errorf("--metrics: %w", err)
		}
	case variable != "":
		if cfg.Metrics, err = status.ParseAnnotations(variable); err != nil {
			return fmt.Errorf("%s: %w", status.Variable, err)
		}
	}
	return nil
}

// newRunCommand returns `lateen run`.
func newRunCommand() *cobra.Command {
	var cfg runner.Config
	var service, version, metrics string
	var labels map[string]string
	cmd := &cobra.Command{
		Use:   "run (--service SERVICE | --name NAME | --group GROUP) [--port PORT] -- COMMAND [ARG...]",
		Short: "Run a command as a workload of a mesh, with a proxy beside it",
		Long: `Starts a proxy with an identity of its own, registers the workload, and runs the command; ends both, with the command's exit code.
When it is told to end, the workload is taken out of the mesh first, so that nobody new is sent to it while it finishes.

The command finds in its environment where to listen (HOST and PORT, of the first --port) and its way into the mesh (HTTP_PROXY).
--port 8080=9000 is for one that listens on port 9000 of 127.0.0.1 and is port 8080 of the workload.

The mesh is the one that runs on this machine ('lateen up', 'lateen demo'). --discovery-address names a control plane elsewhere.`,
		Example: "  lateen run --service hello --port 8080=9000 -- python3 -m http.server 9000 --bind 127.0.0.1\n" +
			"  lateen run --name client -- curl http://hello/\n" +
			"  lateen run --service db --port 5432 --discovery-address istiod.example:15012 --token-file token --root-cert root.pem -- ./db\n" +
			"  lateen run --group db --port 5432 --discovery-address istiod.example:15012 --token-file token --root-cert root.pem -- ./db",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if service == "" && cfg.Name == "" && cfg.Group == "" {
				return errors.New("say what the workload is with --service, --name or --group")
			}
			if err := ofToken(cmd, &cfg); err != nil {
				return err
			}
			if err := metricsOf(&cfg, metrics, os.Getenv(status.Variable)); err != nil {
				return err
			}
			cfg.Command = args
			cfg.Labels = map[string]string{}
			cfg.Deployment = cmp.Or(cfg.Name, cfg.Group)
			if service != "" {
				cfg.Labels["app"], cfg.Deployment = service, service
				if version != "" {
					cfg.Deployment += "-" + version
				}
			} else if cfg.Group == "" { // else the group says
				cfg.Labels["app"] = cfg.Name
			}
			if version != "" {
				cfg.Labels["version"] = version
			}
			maps.Copy(cfg.Labels, labels)
			if cfg.Name == "" {
				cfg.Name = fmt.Sprintf("%s-%d", cfg.Deployment, os.Getpid())
			}
			if cfg.ServiceAccount == "" {
				cfg.ServiceAccount = cmp.Or(cfg.Labels["app"], cfg.Group)
			}
			cfg.StateDir = stateDir(cmd)
			var err error
			if cfg.Executable, err = os.Executable(); err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			logger, closeLog, err := meshLogger(cfg.StateDir, "run")
			if err != nil {
				return err
			}
			defer closeLog()
			cfg.Logger = logger
			return runner.Run(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows the command is the command's
	flags.StringVar(&service, "service", "", "label app of the workload, by which a Service selects it")
	flags.StringVar(&version, "version", "", "label version of the workload")
	flags.StringVar(&cfg.Name, "name", "", "name of the instance (default SERVICE-VERSION-PID)")
	flags.StringVarP(&cfg.Namespace, "namespace", "n", "default", "namespace of the workload (default with a token: its)")
	flags.StringVar(&cfg.ServiceAccount, "service-account", "", "service account, which is the workload's identity (default the token's, else its label app)")
	flags.StringToStringVar(&labels, "labels", nil, "more labels, KEY=VALUE")
	flags.StringSliceVar(&cfg.Ports, "port", nil, "port that the workload serves: PORT, PORT=APP-PORT of 127.0.0.1, or PORT=IP:APP-PORT; may be given several times")
	flags.StringVar(&metrics, "metrics", "", "where the command serves metrics for Prometheus, PORT or PORT/PATH: port 15020 of the workload has them with the proxy's (default $ISTIO_PROMETHEUS_ANNOTATIONS)")
	flags.DurationVar(&cfg.Drain, "drain-time", 5*time.Second, "how long to go on serving between leaving the mesh and ending the command")
	flags.StringVar(&cfg.Discovery, "discovery-address", "", "control plane elsewhere, HOST:PORT of its TLS port")
	flags.StringVar(&cfg.TokenFile, "token-file", "", "file with the join token for it")
	flags.StringVar(&cfg.RootCert, "root-cert", "", "PEM file with the root certificate of its mesh")
	flags.StringVar(&cfg.IP, "ip", "", "address of this host that is the workload's (default that towards the control plane)")
	flags.StringVar(&cfg.CaptureUser, "capture-user", "", "run the command as this user, and redirect this user's connections to the proxy (needs root)")
	flags.Var(onOff{&cfg.CaptureDNS}, "capture-dns", "redirect this user's DNS queries to the agent, which knows the names of the mesh (default $ISTIO_META_DNS_CAPTURE, else as the mesh says, else true)")
	flags.Lookup("capture-dns").NoOptDefVal = "true"
	flags.StringVar(&cfg.IncludeRanges, "include-outbound-ip-ranges", "*", "ranges of addresses, in CIDR form, connections to which are redirected; * for all")
	flags.StringVar(&cfg.ExcludeRanges, "exclude-outbound-ip-ranges", "", "ranges of addresses connections to which are not redirected")
	flags.StringVar(&cfg.IncludePorts, "include-outbound-ports", "", "ports connections to which are redirected whatever the address")
	flags.StringVar(&cfg.ExcludePorts, "exclude-outbound-ports", "", "ports connections to which are not redirected")
	flags.StringVar(&cfg.IncludeInbound, "include-inbound-ports", "", "ports connections from other machines to which are redirected, * for all (default those of --port)")
	flags.StringVar(&cfg.ExcludeInbound, "exclude-inbound-ports", "", "ports connections from other machines to which are not redirected")
	flags.StringVar(&cfg.Group, "group", "", "WorkloadGroup, of the workload's namespace, by which it registers the workload, and which says how to ask whether it is well")
	flags.BoolVar(&cfg.ExecProbes, "exec-probes", false, "allow the group's probe to be a command, which runs as this user")
	return cmd
}

// onOff is a flag that is true, false, or not given.
type onOff struct{ text *string }

func (o onOff) String() string {
	if o.text == nil {
		return ""
	}
	return *o.text
}

func (o onOff) Set(text string) error {
	v, err := strconv.ParseBool(text)
	if err != nil {
		return errors.New("want true or false")
	}
	*o.text = strconv.FormatBool(v)
	return nil
}

func (o onOff) Type() string { return "bool" }
