using AttentionDistillation.Runtime;
using TorchSharp;

namespace AttentionDistillation.Tests.Runtime;

public sealed class DevicesTests
{
    [Theory]
    [InlineData("cpu")]
    [InlineData(" CPU ")]
    public void TheCpuIsFoundByName(string name) => Assert.Equal(DeviceType.CPU, Devices.Resolve(name).type);

    [Fact]
    public void NothingMeansCudaWhereThereIsOne() =>
        Assert.Equal(torch.cuda.is_available() ? DeviceType.CUDA : DeviceType.CPU, Devices.Resolve(null).type);

    [Theory]
    [InlineData("gpu")]
    [InlineData("cuda:")]
    [InlineData("cuda:-1")]
    [InlineData("cuda:x")]
    public void OtherNamesAreRefusedWithTheChoice(string name) =>
        Assert.Contains("Use cpu, cuda or cuda:N", Assert.Throws<ArgumentException>(() => Devices.Resolve(name)).Message);

    [Fact]
    public void CudaIsThereOrItsAbsenceComesWithARemedy()
    {
        if (torch.cuda.is_available())
        {
            Assert.Equal(DeviceType.CUDA, Devices.Resolve("cuda").type);
            Assert.Contains("does not exist", Assert.Throws<ArgumentException>(() => Devices.Resolve("cuda:99")).Message);
        }
        else
            Assert.Contains("--device cpu", Assert.Throws<TorchRuntimeException>(() => Devices.Resolve("cuda")).Message);
    }

    [Fact]
    public void TheDescriptionNamesLibtorchsVersion() =>
        Assert.Contains($"libtorch {TorchRuntime.Version}", Devices.Describe(torch.CPU), StringComparison.Ordinal);

    [Fact]
    public void OnlyCudaHasCudaMemory()
    {
        Assert.Null(CudaMemory.UsedBytes(torch.CPU));
        if (torch.cuda.is_available())
        {
            using var held = torch.ones(1 << 20, device: torch.CUDA);
            Assert.True(CudaMemory.UsedBytes(torch.CUDA) >= held.numel() * held.element_size());
        }
    }
}
