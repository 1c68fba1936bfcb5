using System.Collections.Concurrent;
using System.Runtime;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Runtime;

/// <summary>Operators with a backward pass of their own: gradients, memory, failures.</summary>
[Collection(FastPathsCollection.Name)]
public sealed class DifferentiableOperatorTests
{
    private const int Passes = 200;
    private const long Budget = 64L << 20;

    /// <summary>a * b * factor + c, where c may be left out.</summary>
    private sealed class Scaled : DifferentiableOperator<Scaled>
    {
        internal static Exception? Thrown { get; set; }

        internal static bool? Learnt { get; private set; }

        internal static int Asked { get; private set; }

        internal static Tensor Of(Tensor a, Tensor b, Tensor? c, double factor = 1.0) => Apply(factor, a, b, c);

        protected override Tensor Forward(OperatorCall call)
        {
            Learnt = call.Learns;
            call.Save(call.Inputs[0], call.Inputs[1]);
            var product = call.Inputs[0]! * call.Inputs[1]! * (double)call.Settings!;
            return call.Inputs[2] is { } c ? product + c : product;
        }

        protected override Tensor?[] Backward(OperatorCall call, IReadOnlyList<Tensor?> saved, Tensor gradient)
        {
            Asked++;
            Assert.Empty(call.Inputs);
            if (Thrown is { } error)
                throw error;
            double factor = (double)call.Settings!;
            return
            [
                call.Wants(0) ? gradient * saved[1]! * factor : null,
                call.Wants(1) ? gradient * saved[0]! * factor : null,
                call.Wants(2) ? gradient : null,
            ];
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void GradientsAreThoseOfTheSameArithmetic(bool hasThird)
    {
        using var scope = NewDisposeScope();
        Tensor[] inputs = [Row(1, 2, 3), Row(0.5, -2, 4), Row(-1, 0, 2)];
        if (!hasThird)
            inputs = inputs[..2];
        // Used twice each, by two operators and outside of them.
        Tensor Output(Func<Tensor, Tensor, Tensor?, Tensor> form)
        {
            var c = hasThird ? inputs[2] : null;
            var first = form(inputs[0], inputs[1], c);
            return (form(first, inputs[1], first) * inputs[0] * first).sum();
        }
        var expected = autograd.grad([Output((a, b, c) => c is null ? a * b * 3.0 : a * b * 3.0 + c)], inputs);
        var actual = autograd.grad([Output((a, b, c) => Scaled.Of(a, b, c, 3.0))], inputs);
        foreach (var (one, other) in expected.Zip(actual))
            Assert.Equal(one.data<double>().ToArray(), other.data<double>().ToArray());
    }

    [Fact]
    public void ABackwardPassCanBeRepeatedWhereTheGraphIsKept()
    {
        using var scope = NewDisposeScope();
        var (a, b) = (Row(1, 2), Row(3, 4));
        var loss = Scaled.Of(a, b, null).sum();
        loss.backward(retain_graph: true);
        loss.backward();
        Assert.Equal([6.0, 8.0], a.grad!.data<double>().ToArray());
    }

    [Fact]
    public void WhereNoGradientIsWantedNothingIsRecorded()
    {
        using var scope = NewDisposeScope();
        var (a, b) = (Row(1, 2), Row(3, 4));
        using (no_grad())
            Assert.False(Scaled.Of(a, b, null).requires_grad);
        Assert.False(Scaled.Learnt);
        Assert.False(Scaled.Of(a.detach(), b.detach(), null).requires_grad);
        Assert.True(Scaled.Of(a.detach(), b, null).requires_grad);
        Assert.True(Scaled.Learnt);
    }

    [Fact]
    public void AnUnusedOutputGetsNoBackwardPass()
    {
        using var scope = NewDisposeScope();
        var (a, b) = (Row(1, 2), Row(3, 4));
        int before = Scaled.Asked;
        _ = Scaled.Of(a, b, null);
        (a * b).sum().backward();
        Assert.Equal(before, Scaled.Asked);
    }

    [Fact]
    public void AFailureReachesTheCallerAndLeavesTheNextPassWhole()
    {
        using var scope = NewDisposeScope();
        var (a, b, c) = (Row(1, 2), Row(3, 4), tensor(1.0, requires_grad: true));
        Scaled.Thrown = new TimeoutException("too late");
        try
        {
            var error = Assert.Throws<InvalidOperationException>(() =>
                DifferentiableOperator.Backward((Scaled.Of(a, b, c) * 2).sum())
            );
            Assert.Contains("Scaled", error.Message);
            Assert.Contains("too late", error.Message);
            Assert.Same(Scaled.Thrown, error.InnerException);
            Assert.ThrowsAny<Exception>(() => Scaled.Of(a, b, c).sum().backward());
        }
        finally
        {
            Scaled.Thrown = null;
        }
        Assert.Null(a.grad);
        DifferentiableOperator.Backward(Scaled.Of(a, b, null).sum());
        Assert.Equal([3.0, 4.0], a.grad!.data<double>().ToArray());
    }

    [Fact]
    public void SecondDerivativesAreRefused()
    {
        using var scope = NewDisposeScope();
        var (a, b) = (Row(1, 2), Row(3, 4));
        Assert.ThrowsAny<Exception>(() => Scaled.Of(a, b, null).sum().backward(create_graph: true));
        Assert.Null(a.grad);
    }

    [Fact]
    public void AnErrorOfLibtorchStaysWhatItIs()
    {
        using var scope = NewDisposeScope();
        var a = Row(1, 2);
        Assert.Throws<System.Runtime.InteropServices.ExternalException>(() => DifferentiableOperator.Backward(a.detach().sum()));
    }

    // On a device libtorch runs backward passes on a thread of its own, where no dispose scope is open; another thread stands for it here.
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void NoPassLeavesAnythingToTheGarbageCollector(bool elsewhere, bool fails)
    {
        using var scope = NewDisposeScope();
        using var turns = new BlockingCollection<Tensor>();
        using var done = new SemaphoreSlim(0);
        var other = new Thread(() =>
        {
            foreach (var loss in turns.GetConsumingEnumerable())
            {
                Backward(loss);
                done.Release();
            }
        });
        other.Start();
        var (a, b, c) = (Row(1, 2), Row(3, 4), Row(5, 6));
        void Backward(Tensor loss)
        {
            try
            {
                DifferentiableOperator.Backward(loss);
            }
            catch (InvalidOperationException) when (fails) { }
        }
        void Pass()
        {
            using var step = NewDisposeScope();
            var loss = Scaled.Of(Scaled.Of(a, b, c), b, null).sum();
            if (elsewhere)
            {
                turns.Add(loss);
                done.Wait();
            }
            else
                Backward(loss);
            foreach (var leaf in (Tensor[])[a, b, c])
                leaf.grad = null;
        }
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Assert.True(GC.TryStartNoGCRegion(Budget));
        Scaled.Thrown = fails ? new TimeoutException() : null;
        try
        {
            for (int pass = 0; pass < 10; pass++)
                Pass();
            long before = Tensor.TotalCount;
            for (int pass = 0; pass < Passes; pass++)
                Pass();
            Assert.Equal(before, Tensor.TotalCount);
            Assert.Equal(GCLatencyMode.NoGCRegion, GCSettings.LatencyMode);
        }
        finally
        {
            Scaled.Thrown = null;
            turns.CompleteAdding();
            other.Join();
            if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
                GC.EndNoGCRegion();
        }
    }

    private static Tensor Row(params double[] values) => tensor(values, requires_grad: true);
}
