//! The binary as a shell runs it: its reader may go, its output may not be writable.

use std::process::{Command, Output, Stdio};

fn plan(args: &[&str], out: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dist"));
    let child =
        command.args(["plan", "--devices", "8", "--model"]).args(args).stdout(out).stderr(Stdio::piped()).spawn().expect("it starts");
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let ended = plan(&["124m"], writer);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!((ended.status.code(), &*said), (Some(program::CLOSED), ""));
}

#[test]
fn what_the_user_can_mend_ends_with_2() {
    for (args, wanted) in [
        (&["nowhere"][..], "dist: error: --model nowhere: neither a known name"),
        (&["7b", "--tensor", "16"], "dist: error: --tensor 16 × --pipeline 1 are more than the cluster's 8 devices"),
        (
            &["7b", "--tensor", "9223372036854775808", "--pipeline", "2"],
            "dist: error: --tensor 9223372036854775808 × --pipeline 2 are more than",
        ),
    ] {
        let ended = plan(args, Stdio::null());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn output_that_cannot_be_written_is_said() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return eprintln!("SKIPPED: there is no /dev/full here");
    };
    let ended = plan(&["124m"], full);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write to standard output: "), "{said}");
}
