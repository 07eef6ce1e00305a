// Package rules holds the house rules of the repository as tests: which package may import
// which, and that every package says what it is for. It has no code of its own.
package rules
