//! Images to network inputs, in order, decoded while the network runs.

use std::sync::mpsc::sync_channel;

use amis_artifacts::image_spec::ImageSpec;
use amis_artifacts::preprocess::Preprocessor;
use amis_data::images::read_rgb;

use crate::Result;
use crate::images::Image;

/// Inputs that wait decoded, so that memory does not grow with the number of images.
const WAITING: usize = 2;

/// Calls `each` with every image, its place and its network input `[3, H, W]`, in order; one thread reads and preprocesses ahead, as the runtime does.
///
/// # Errors
/// The first image that cannot be read, or what `each` answers.
pub(crate) fn feed(images: &[Image], spec: &ImageSpec, mut each: impl FnMut(usize, &Image, &[f32]) -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING);
        scope.spawn(move || {
            let mut preprocessor = Preprocessor::new(spec.clone());
            for image in images {
                let input = read(image, spec, &mut preprocessor);
                let failed = input.is_err();
                // The receiver is gone when `each` failed.
                if sender.send(input).is_err() || failed {
                    return;
                }
            }
        });
        images.iter().enumerate().zip(receiver.iter()).try_for_each(|((index, image), input)| each(index, image, &input?))
    })
}

fn read(image: &Image, spec: &ImageSpec, preprocessor: &mut Preprocessor) -> Result<Vec<f32>> {
    let picture = read_rgb(&image.path)?;
    let mut input = vec![0.0; spec.input_len()];
    preprocessor.run(&picture.rgb, picture.width_px, picture.height_px, &mut input)?;
    Ok(input)
}
