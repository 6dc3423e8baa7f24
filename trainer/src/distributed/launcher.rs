//! What a launcher says in the environment.

/// Variables with the number of processes: those of `mpirun`, of launchers that speak PMI, and of `srun`. (`SLURM_NTASKS` is not among them: a batch script
/// has it too.)
const COUNTS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// How many processes were started together, as `variable` reads the environment; 1 without a launcher.
pub(super) fn processes(variable: impl Fn(&str) -> Option<String>) -> usize {
    COUNTS.iter().find_map(|name| variable(name)?.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> usize {
        processes(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn launchers_are_recognised_and_a_batch_script_is_none() {
        assert_eq!(with(&[]), 1);
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "2"), ("OMPI_COMM_WORLD_RANK", "1")]), 2);
        assert_eq!(with(&[("PMI_SIZE", "3")]), 3);
        assert_eq!(with(&[("SLURM_NTASKS", "8"), ("SLURM_STEP_NUM_TASKS", "4")]), 4);
        assert_eq!(with(&[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]), 1);
        assert_eq!(with(&[("OMPI_COMM_WORLD_SIZE", "many")]), 1);
    }
}
