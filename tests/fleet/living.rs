//! Whatever lives of an orchestrator that is kept in a folder ends with its test.

use std::path::PathBuf;

use bellrock::host::family::Kin;
use bellrock::host::process;
use bellrock::host::process::Process;
use rustix::process::Signal;

pub struct Living(pub PathBuf);

impl Living {
    /// Everything of it, its keeper too.
    pub fn all(&self) -> Vec<Process> {
        let kin = Kin { mark: Some(format!("BELLROCK_KEPT_IN={}", self.0.display())), ..Kin::default() };
        kin.members().expect("this is Linux").iter().map(|member| member.process).collect()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        loop {
            let all = self.all();
            if all.is_empty() {
                return;
            }
            for process in all {
                let _ = process::signal(process, Signal::KILL);
            }
        }
    }
}
