use clap::Args;
/// x
#[derive(Args)]
pub(super) struct Report {}
impl Report { pub(super) fn run(self) -> amis_trainer::Result<()> { Ok(()) } }
