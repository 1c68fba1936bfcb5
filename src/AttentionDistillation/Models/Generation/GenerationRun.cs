using AttentionDistillation.Models.Blocks;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Generation;

/// <summary>One batch on its way: each call of <see cref="Next"/> runs the model once and appends one token to every text.</summary>
internal sealed class GenerationRun : IDisposable
{
    private readonly CausalLanguageModel model;
    private readonly GenerationOptions options;
    private readonly DecoderInput prompt;
    private readonly KeyValueCache? cache;
    private readonly bool ownsCache;
    private readonly TokenSampler sampler;
    private readonly List<Tensor> owned = [];
    private readonly long promptLength;
    private readonly long pastLength;
    private readonly long padding;

    /// <summary>int64 [N, most new tokens], filled from the left.</summary>
    private readonly Tensor tokens;

    /// <summary>bool [N, S at the end], true = real; null when nothing is padded.</summary>
    private readonly Tensor? mask;

    /// <summary>int64 [N, 1], the position of the first new token; null when positions are counted from the cache.</summary>
    private readonly Tensor? firstPosition;

    private Tensor? ended;

    public GenerationRun(CausalLanguageModel model, DecoderInput prompt, GenerationOptions options)
    {
        (this.model, this.options) = (model, options);
        Check();
        using var scope = NewDisposeScope();
        promptLength = prompt.Length;
        pastLength = prompt.Cache?.Length ?? 0;
        var device = model.Device;
        var realMask = prompt.Mask?.ne(0);
        if (realMask is not null && realMask.all().ToBoolean())
            realMask = null;
        if (realMask?.narrow(1, realMask.size(1) - 1, 1).all().ToBoolean() == false)
            throw new ArgumentException(
                "A prompt ends in padding, so nothing can follow its last token. Pad prompts on the left.",
                nameof(prompt)
            );
        var positions = prompt.Positions;
        if (positions is null && realMask is not null)
            positions = DecoderInput.PositionsOf(realMask).narrow(1, pastLength, promptLength);
        Sequences = prompt.Batch * options.SamplesPerPrompt;
        this.prompt = Repeated(prompt, realMask, positions);
        cache = prompt.Cache ?? (options.UseCache ? model.NewCache(promptLength + options.MaxNewTokens) : null);
        ownsCache = prompt.Cache is null;
        if (positions is not null)
            firstPosition = Own(this.prompt.Positions!.narrow(1, promptLength - 1, 1).expand(Sequences, 1).add(1));
        if (realMask is not null)
            mask = Own(
                cat([this.prompt.Mask!, ones(Sequences, options.MaxNewTokens, dtype: ScalarType.Bool, device: device)], 1)
            );
        padding = options.PaddingToken ?? options.EndTokens.FirstOrDefault();
        tokens = Own(full([Sequences, options.MaxNewTokens], padding, dtype: ScalarType.Int64, device: device));
        sampler = new TokenSampler(options, Sequences, device);

        void Check()
        {
            ArgumentNullException.ThrowIfNull(model);
            ArgumentNullException.ThrowIfNull(prompt);
            ArgumentNullException.ThrowIfNull(options);
            options.Validate();
            if (!options.UseCache && (prompt.InputIds is null || prompt.Cache is not null))
                throw new ArgumentException(
                    "Without a cache the whole text is read again at every step, which needs the prompt's token numbers. Set UseCache to true.",
                    nameof(options)
                );
            if (prompt.Cache is not null && options.SamplesPerPrompt != 1)
                throw new ArgumentException(
                    "A prompt with a cache of its own has one continuation. Repeat the cache and the prompt before.",
                    nameof(options)
                );
            if (options.RepetitionPenalty != 1.0 && prompt.InputIds is null)
                throw new ArgumentException("A repetition penalty needs the prompt's token numbers.", nameof(options));
            if (options.EndTokens.Any(token => token < 0 || token >= model.DecoderConfig.VocabularySize))
                throw new ArgumentException(
                    $"End tokens must be 0 to {model.DecoderConfig.VocabularySize - 1}, but are {string.Join(", ", options.EndTokens)}.",
                    nameof(options)
                );
        }
    }

    /// <summary>N, texts in the batch: prompts times samples.</summary>
    public long Sequences { get; }

    /// <summary>Tokens generated so far.</summary>
    public int Step { get; private set; }

    /// <summary>The prompt's token numbers, int64 [N, P]; null for embeddings.</summary>
    public Tensor? PromptIds => prompt.InputIds;

    /// <summary>Appends one token to every text.</summary>
    /// <returns>int64 [N, 1], padding for texts that have ended: a view, valid until the run is disposed.</returns>
    public Tensor Next()
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var scores = model.call(Input() with { LastScores = 1 }, null).select(1, 0);
        var seen = options.RepetitionPenalty == 1.0 ? null : Text();
        var next = sampler.Choose(scores, seen, Step);
        if (ended is not null)
            next = next.masked_fill(ended, padding);
        if (sampler.Ends(next) is { } ends)
        {
            ends = ends.unsqueeze(-1);
            var now = ended is null ? ends : ends.logical_or(ended);
            ended?.Dispose();
            ended = now.DetachFromDisposeScope();
        }
        var place = tokens.narrow(1, Step, 1);
        place.copy_(next);
        Step++;
        return place.MoveToOuterDisposeScope();
    }

    /// <summary>True when every text has ended; the host waits for the device.</summary>
    public bool HasEnded()
    {
        if (ended is null)
            return false;
        using var scope = NewDisposeScope();
        return ended.all().ToBoolean();
    }

    /// <summary>The new tokens so far, int64 [N, steps].</summary>
    public Tensor NewTokens() => tokens.narrow(1, 0, Step);

    public void Dispose()
    {
        foreach (var tensor in owned)
            tensor.Dispose();
        ended?.Dispose();
        sampler.Dispose();
        if (ownsCache)
            cache?.Dispose();
    }

    private DecoderInput Input()
    {
        if (Step == 0)
            return prompt with { Cache = cache };
        long length = pastLength + promptLength + Step;
        var seen = mask?.narrow(1, 0, length);
        if (cache is null)
            return new DecoderInput(Text(), seen)
            {
                Positions = firstPosition is null
                    ? null
                    : cat(
                        [
                            prompt.Positions!.expand(Sequences, promptLength),
                            firstPosition + arange(Step, dtype: ScalarType.Int64, device: tokens.device),
                        ],
                        1
                    ),
                Heads = prompt.Heads,
            };
        return new DecoderInput(tokens.narrow(1, Step - 1, 1), seen)
        {
            Cache = cache,
            Positions = firstPosition is null ? null : firstPosition + (Step - 1),
            Heads = prompt.Heads,
        };
    }

    private Tensor Text() => cat([prompt.InputIds!, tokens.narrow(1, 0, Step)], 1);

    private DecoderInput Repeated(DecoderInput input, Tensor? realMask, Tensor? positions)
    {
        long times = options.SamplesPerPrompt;
        var repeatedMask = realMask is null ? null : Own(realMask.repeat_interleave(times, 0));
        var copy = input.InputIds is not null
            ? new DecoderInput(Own(input.InputIds.repeat_interleave(times, 0)), repeatedMask)
            : DecoderInput.FromEmbeddings(Own(input.InputEmbeddings!.detach().repeat_interleave(times, 0)), repeatedMask);
        return copy with
        {
            Positions =
                positions is null ? null
                : positions.size(0) == 1 ? Own(positions.clone())
                : Own(positions.repeat_interleave(times, 0)),
            Heads = input.Heads,
        };
    }

    private Tensor Own(Tensor tensor)
    {
        owned.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }
}
