//! Backends that have the composed operations.

#[cfg(feature = "ndarray")]
impl crate::Kernels for burn_ndarray::NdArray {
    const ON_HOST: bool = true;
}

#[cfg(feature = "cubecl")]
impl<R, F, I, BT> crate::Kernels for burn_cubecl::CubeBackend<R, F, I, BT>
where
    R: burn_cubecl::CubeRuntime,
    F: burn_cubecl::FloatElement,
    I: burn_cubecl::IntElement,
    BT: burn_cubecl::BoolElement,
{
}

#[cfg(feature = "fusion")]
impl<B: burn_fusion::FusionBackend> crate::Kernels for burn_fusion::Fusion<B> {}
