//! The directory that a run writes its files to.

use super::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the directory and sees whether files can be written there, before any time is spent on training.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| format!("cannot make the directory {}: {error}", dir.display()))?;
    write_temporary(dir, &[("probe", Vec::new())])?;
    remove_temporary(dir, "probe");
    Ok(())
}

/// Writes files under temporary names, and renames them once all are complete.
pub(crate) fn write(dir: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    write_temporary(dir, files)?;
    for (name, _) in files {
        fs::rename(temporary(dir, name), dir.join(name)).map_err(|error| cannot_write(dir, name, &error))?;
    }
    Ok(())
}

fn write_temporary(dir: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    for (name, bytes) in files {
        if let Err(error) = fs::write(temporary(dir, name), bytes) {
            for (name, _) in files {
                remove_temporary(dir, name);
            }
            return Err(cannot_write(dir, name, &error).into());
        }
    }
    Ok(())
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!(".{name}.{}.part", std::process::id()))
}

/// Of a file that was never begun there is nothing to remove.
fn remove_temporary(dir: &Path, name: &str) {
    let _ = fs::remove_file(temporary(dir, name));
}

fn cannot_write(dir: &Path, name: &str, error: &std::io::Error) -> String {
    format!("cannot write {}: {error}", dir.join(name).display())
}
