use amis_tensorrt::{Flavor, Gpu, Library};

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
        let found = Library::find(flavor).map_or_else(|error| error.to_string(), |library| library.version().to_string());
        report.good("engines", found.clone());
        report.tensorrt.push(found);
    }
}
