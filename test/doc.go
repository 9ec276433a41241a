// Package test boots real guests in tests, and sees to it that nothing is left
// of them.
//
// [Boot] is all that most tests need:
//
//	func TestMyGuest(t *testing.T) {
//		vm := test.Boot(t, "testdata/myguest.toml")
//		if got := vm.Exec("hostname"); got != "myguest\n" {
//			t.Errorf("hostname = %q", got)
//		}
//	}
//
// A [Host] gives more control: several machines, or several runs of one, in the
// same directories. Machines are run as a user runs them, by the program mvm, so
// what a test sees is what a user would see; [Program] says which mvm that is.
//
// When a test fails, what mvm said and the end of the guest's console are in its
// log; with -v they always are. When a test ends, its machines are stopped, and a
// process, a run-time directory, a lock or a temporary file that is still there
// fails it. A guest that has not ended after [Limit] is killed, and fails it too.
package test
