package cel

import (
	"errors"
	"strings"
	"testing"

	"cel.dev/cel-go/interpreter"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func tree(t testing.TB, json string) *exprpb.Expr {
	t.Helper()
	e := &exprpb.Expr{}
	if err := protojson.Unmarshal([]byte(json), e); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return e
}

const (
	constant = `{"constExpr": {"int64Value": 1}}`
	sum      = `{"callExpr": {"function": "_+_", "args": [` + constant + `, {"constExpr": {"int64Value": 2}}]}}`
	chosen   = `{"selectExpr": {"operand": {"identExpr": {"name": "a"}}, "field": "b"}}`
	present  = `{"selectExpr": {"operand": {"identExpr": {"name": "a"}}, "field": "c", "testOnly": true}}`
)

func TestTrees(t *testing.T) {
	names, err := interpreter.NewActivation(map[string]any{"a": map[string]string{"b": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		sum: "3", chosen: "x", present: "false",
		`{"callExpr": {"target": ` + chosen + `, "function": "startsWith", "args": [{"constExpr": {"stringValue": "x"}}]}}`:          "true",
		`{"callExpr": {"function": "matches", "args": [` + chosen + `, {"constExpr": {"stringValue": "^[xy]$"}}]}}`:                  "true",
		`{"callExpr": {"function": "@in", "args": [` + constant + `, {"listExpr": {"elements": [` + sum + `, ` + constant + `]}}]}}`: "true",
	} {
		e, err := CompileProto(tree(t, in), nil)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		v, err := e.Eval(names)
		if got := string(v.AppendText(nil)); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestBadTrees(t *testing.T) {
	deep, wide := tree(t, constant), make([]*exprpb.Expr, 0, 20_000)
	for range 1000 {
		deep = &exprpb.Expr{ExprKind: &exprpb.Expr_CallExpr{CallExpr: &exprpb.Expr_Call{Function: "-_", Args: []*exprpb.Expr{deep}}}}
	}
	for range cap(wide) {
		wide = append(wide, tree(t, constant))
	}
	for want, e := range map[string]*exprpb.Expr{
		"nested more than":      deep,
		"more than 10000 parts": {ExprKind: &exprpb.Expr_ListExpr{ListExpr: &exprpb.Expr_CreateList{Elements: wide}}},
		"cannot be evaluated":   {},
		"there is no function":  tree(t, `{"callExpr": {"function": "nofunc"}}`),
		"of 1 arguments":        tree(t, `{"callExpr": {"function": "_&&_", "args": [`+constant+`]}}`),
		"messages cannot be":    tree(t, `{"structExpr": {"messageName": "a.B"}}`),
		"comprehensions are":    tree(t, `{"comprehensionExpr": {"iterVar": "x", "iterRange": `+constant+`, "accuVar": "y", "accuInit": `+constant+`, "loopCondition": `+constant+`, "loopStep": `+constant+`, "result": `+constant+`}}`),
		"not b":                 tree(t, chosen),
		"invalid regular":       tree(t, `{"callExpr": {"function": "matches", "args": [`+constant+`, {"constExpr": {"stringValue": "("}}]}}`),
		"a bytes cannot be":     tree(t, `{"structExpr": {"entries": [{"mapKey": {"constExpr": {"bytesValue": "YQ=="}}, "value": `+constant+`}]}}`),
	} {
		_, err := CompileProto(e, func(_, name string) error { return errors.New("not " + name) })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// FuzzTree: a tree need not come from a parser.
func FuzzTree(f *testing.F) {
	for _, in := range []string{constant, sum, chosen, present} {
		b, err := proto.Marshal(tree(f, in))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	names, err := interpreter.NewActivation(map[string]any{"a": map[string]string{"b": "x"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &exprpb.Expr{}
		if proto.Unmarshal(b, in) != nil {
			return
		}
		e, err := CompileProto(in, nil)
		if err != nil {
			return
		}
		v, err := e.Eval(names)
		if err == nil {
			v.AppendText(nil)
		} else if strings.HasPrefix(err.Error(), "internal error") {
			t.Error(err)
		}
	})
}
