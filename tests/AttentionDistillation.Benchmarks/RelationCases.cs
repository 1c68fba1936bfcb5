using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>A relation whose errors are measured: sizes, what is masked, how large its scores are.</summary>
internal sealed record RelationCase(
    string Name,
    long Batch,
    long Heads,
    long Queries,
    long Keys,
    long TeacherWidth,
    long Width,
    long[]? Lengths = null,
    bool Causal = false,
    double Size = 1.0,
    double Distance = 0.0,
    long KeyHeads = 0
)
{
    private const ulong Seed = 20;

    /// <summary>Elements of a call's maps up to which the definition takes all heads at once: 256 MiB a map in float32.</summary>
    private const long LargestMaps = 1L << 26;

    /// <summary>Every kind of call that the losses serve.</summary>
    internal static RelationCase[] All { get; } =
    [
        new("plain", 2, 4, 256, 256, 64, 64),
        new("widths 64 / 32", 2, 4, 200, 200, 64, 32),
        new("widths 32 / 64", 2, 4, 200, 200, 32, 64),
        new("odd widths 20 / 7", 2, 4, 129, 129, 20, 7),
        new("width 96", 1, 2, 130, 130, 96, 96),
        new("width 128", 1, 2, 130, 130, 128, 128, [130]),
        new("widths 192 / 128", 1, 2, 130, 130, 192, 128, [100]),
        new("width 320", 1, 2, 130, 130, 320, 320, [100]),
        new("causal", 2, 4, 257, 257, 64, 32, Causal: true),
        new("half padded", 2, 4, 512, 512, 64, 64, [512, 3]),
        new("one wholly padded", 3, 4, 192, 192, 64, 32, [192, 77, 0]),
        new("causal and padded", 3, 4, 192, 192, 64, 32, [192, 77, 0], true),
        new("causal with a past", 2, 4, 100, 192, 64, 32, [192, 150], true),
        new("causal with more queries", 1, 4, 192, 100, 64, 64, Causal: true),
        new("cross", 2, 4, 100, 300, 64, 64, [300, 40]),
        new("grouped", 2, 8, 200, 200, 64, 64, [200, 120], KeyHeads: 2),
        new("one query", 2, 4, 1, 200, 64, 64, [200, 7]),
        new("large scores", 2, 4, 256, 256, 64, 64, [256, 100], false, 3),
        new("student near teacher", 2, 4, 256, 256, 64, 64, Distance: 0.1),
        new("long half padded", 2, 2, 8192, 8192, 64, 64, [8192, 4096]),
    ];

    /// <summary>Teacher's queries and keys, student's queries and keys, drawn anew each time, always the same.</summary>
    internal Tensor[] Draw(ScalarType type, Device device)
    {
        using var generator = new Generator(Seed, CPU);
        Tensor Normal(long heads, long length, long width) =>
            (randn([Batch, heads, length, width], dtype: ScalarType.Float32, generator: generator) * Size).to(type).to(device);
        long keyHeads = KeyHeads == 0 ? Heads : KeyHeads;
        var (teacherQuery, teacherKey) = (Normal(Heads, Queries, TeacherWidth), Normal(keyHeads, Keys, TeacherWidth));
        var (query, key) = (Normal(Heads, Queries, Width), Normal(keyHeads, Keys, Width));
        return Distance == 0.0
            ? [teacherQuery, teacherKey, query, key]
            : [teacherQuery, teacherKey, teacherQuery + (query * Distance), teacherKey + (key * Distance)];
    }

    internal AttentionRelationOptions Options(RelationForm form) => new() { IsCausal = Causal, Form = form };

    internal Tensor? Mask(Device device) =>
        Lengths is null ? null : (arange(Keys).unsqueeze(0) < tensor(Lengths).unsqueeze(1)).to(device);

    /// <summary>
    /// Loss and gradients by the definition, all heads at once as one writes it; one sequence and head at a time where the maps would not fit. A matrix
    /// product of one head may run in another kernel than the same product of many, and differ in its last digits.
    /// </summary>
    internal Tensor[] Definition(Tensor[] inputs, Device device)
    {
        using var scope = NewDisposeScope();
        var (leafQuery, leafKey) = (inputs[2].detach().requires_grad_(), inputs[3].detach().requires_grad_());
        var relation = AttentionRelations.Inputs(
            inputs[0],
            inputs[1],
            leafQuery,
            leafKey,
            Mask(device),
            Options(RelationForm.Dense)
        );
        var (query, key) = (relation.StudentQuery.detach().requires_grad_(), relation.StudentKey.detach().requires_grad_());
        var valid = AttentionMask.CountedQueries(relation.Mask, null, Causal, query, Keys);
        var sizes = empty(query.shape[..3], dtype: relation.Accumulator, device: device);
        var weights = MaskedReductions.RowWeights(valid, sizes, RowReduction.Tokens);
        var value = zeros(1, dtype: relation.Accumulator, device: device);
        bool whole = Batch * Heads * Queries * Keys <= LargestMaps;
        long sequences = whole ? Batch : 1,
            heads = whole ? Heads : 1;
        for (long sequence = 0; sequence < Batch; sequence += sequences)
        for (long head = 0; head < Heads; head += heads)
        {
            using var part = NewDisposeScope();
            Tensor Cut(Tensor tensor) => tensor.narrow(0, sequence, sequences).narrow(1, head, heads);
            var rows = DenseRelation.KlRows(
                relation with
                {
                    TeacherQuery = Cut(relation.TeacherQuery),
                    TeacherKey = Cut(relation.TeacherKey),
                    StudentQuery = Cut(query),
                    StudentKey = Cut(key),
                    Mask = relation.Mask?.narrow(0, sequence, sequences),
                }
            );
            var weight = weights.narrow(0, sequence, sequences);
            var loss = where(weight > 0, rows * weight, zeros_like(rows)).sum();
            loss.backward();
            value.add_(loss.detach());
        }
        // Grouped heads add up into the key head they share.
        long keyHeads = leafKey.size(1);
        var keyGradient = key.grad!.view(Batch, keyHeads, Heads / keyHeads, Keys, Width).sum(2);
        return
        [
            value.squeeze(0).MoveToOuterDisposeScope(),
            query.grad!.MoveToOuterDisposeScope(),
            keyGradient.MoveToOuterDisposeScope(),
        ];
    }

    /// <summary>Loss and gradients as a training step gets them.</summary>
    internal Tensor[] Step(Tensor[] inputs, RelationForm form, Device device)
    {
        using var scope = NewDisposeScope();
        var (query, key) = (inputs[2].detach().requires_grad_(), inputs[3].detach().requires_grad_());
        var loss = AttentionRelations.KlDivergence(inputs[0], inputs[1], query, key, Mask(device), Options(form));
        loss.backward();
        return
        [
            loss.detach().MoveToOuterDisposeScope(),
            query.grad!.MoveToOuterDisposeScope(),
            key.grad!.MoveToOuterDisposeScope(),
        ];
    }
}
