using AttentionDistillation.Experiments;

namespace AttentionDistillation.Tests.Experiments;

public class StudentTTests
{
    // Printed tables of Student's t give three decimals.
    [Theory]
    [InlineData(0.95, 1, 12.706)]
    [InlineData(0.95, 2, 4.303)]
    [InlineData(0.95, 3, 3.182)]
    [InlineData(0.95, 4, 2.776)]
    [InlineData(0.95, 5, 2.571)]
    [InlineData(0.95, 9, 2.262)]
    [InlineData(0.95, 10, 2.228)]
    [InlineData(0.95, 30, 2.042)]
    [InlineData(0.95, 120, 1.980)]
    [InlineData(0.99, 1, 63.657)]
    [InlineData(0.99, 4, 4.604)]
    [InlineData(0.90, 7, 1.895)]
    public void QuantilesAreThoseOfTables(double confidence, int degrees, double expected) =>
        Assert.Equal(expected, StudentT.TwoSidedQuantile(confidence, degrees), 0.0005);

    [Fact]
    public void TheQuantileInvertsTheDistribution()
    {
        for (int degrees = 1; degrees < 60; degrees++)
            Assert.Equal(0.95, StudentT.Within(StudentT.TwoSidedQuantile(0.95, degrees), degrees), 1e-12);
        Assert.Equal(0.5, StudentT.Within(1, 1), 1e-15);
        Assert.Throws<ArgumentOutOfRangeException>(() => StudentT.TwoSidedQuantile(1, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => StudentT.TwoSidedQuantile(0.95, 0));
    }
}
