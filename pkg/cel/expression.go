package cel

import (
	"errors"
	"fmt"

	celgo "cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
)

// Expression is a compiled expression. It may be evaluated on several goroutines at a time.
type Expression struct{ program celgo.Program }

// Compile compiles an expression. refuse is asked about each attribute of a group that is named outright, such as path of request; nil takes all.
// Errors say what is wrong, and where the text ends to be one.
func Compile(text string, refuse func(group, name string) error) (*Expression, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("BUG: the environment of CEL: %w", err)
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, parseError(issues)
	}
	return plan(env, parsed.NativeRep(), refuse)
}

// CompileProto is Compile of a tree (google.api.expr.v1alpha1.Expr) as a parser leaves it: nothing in it has a type.
func CompileProto(tree *exprpb.Expr, refuse func(group, name string) error) (*Expression, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("BUG: the environment of CEL: %w", err)
	}
	root, err := ast.ProtoToExpr(tree)
	if err != nil {
		return nil, err
	}
	return plan(env, ast.NewAST(root, nil), refuse)
}

// Eval evaluates the expression. An error is an expression without a value: a name or an attribute is not known, or values do not
// fit each other.
func (e *Expression) Eval(names celgo.Activation) (Value, error) {
	v, _, err := e.program.Eval(names)
	if err == nil && types.IsUnknownOrError(v) {
		err = errors.New("unknown")
	}
	return Value{v}, err
}

// Value is what an expression comes to.
type Value struct{ v ref.Val }

// True reports whether the value is the boolean true.
func (v Value) True() bool { return v.v == types.True }
