use amis_tensorrt::{Flavor, Gpu, Library};
use miette::Diagnostic;

use super::Report;

/// The GPU by its driver, and each TensorRT by opening it.
pub(super) fn examine(report: &mut Report) {
    let gpu = Gpu::first().map(|gpu| format!("{}, compute capability {}, {} multiprocessors", gpu.name, gpu.compute_capability, gpu.cores));
    match &gpu {
        Err(error) if report.jetson => report.advise("GPU", error.to_string(), "its driver comes with Jetson Linux: sudo dmesg | grep -i nv says what it does"),
        Ok(text) => report.good("GPU", text.clone()),
        Err(error) => report.good("GPU", error.to_string()),
    }
    report.gpu = Some(gpu.unwrap_or_else(|error| error.to_string()));
    for flavor in [Flavor::Enterprise, Flavor::Rtx] {
        let opened = Library::find(flavor);
        let found = opened.as_ref().map_or_else(ToString::to_string, |library| library.version().to_string());
        // TensorRT without what opens it is a fault where TensorRT was installed, and no TensorRT is none.
        let installed = flavor == Flavor::Enterprise && report.software.tensorrt.is_some();
        match opened.err().and_then(|error| Some(error.help()?.to_string())) {
            Some(advice) if installed => report.advise("engines", found.clone(), advice),
            _ => report.good("engines", found.clone()),
        }
        report.tensorrt.push(found);
    }
}
