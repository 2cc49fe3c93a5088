package io.pyseriniext;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.util.Bits;

/**
 * The best documents by the sum of weight * impact, exactly, for one query.
 *
 * <p>MaxScore (Turtle and Flood, 1995) over windows of documents: tokens that even together cannot
 * lift a document to the k-th best score so far are not read through, only asked about documents
 * that the other tokens have found. Those are added up in an array a window at a time, without a
 * queue. Products are float32 and sums float64, as in Lucene, so that scores are equal.
 */
final class MaxScore {
  private static final int WINDOW = 2048;

  /** For what the order of a float64 sum can change. */
  private static final double SLACK = 1 + 1e-12;

  private static final class Token {
    final ImpactTerms.Entry entry;
    final float weight;
    PostingsEnum postings;
    int doc;
    float bound;

    Token(ImpactTerms.Entry entry, float weight) {
      this.entry = entry;
      this.weight = weight;
    }
  }

  private final ImpactTerms terms;
  private final BestScores best;
  private final double[] sums = new double[WINDOW];
  private final long[] found = new long[WINDOW / 64];
  private final int[] docs = new int[WINDOW];
  private final double[] partial = new double[WINDOW];

  /** Of the segment: by bound, the least first, and the sum of the bounds before each. */
  private Token[] tokens;

  private double[] before;

  MaxScore(ImpactTerms terms, BestScores best) {
    this.terms = terms;
    this.best = best;
  }

  void search(List<LeafReaderContext> leaves, ImpactTerms.Entry[] entries, float[] weights)
      throws IOException {
    Token[] all = new Token[entries.length];
    Arrays.setAll(all, i -> new Token(entries[i], weights[i]));
    for (int leaf = 0; leaf < leaves.size(); leaf++) {
      if (open(all, leaf)) {
        best.leaf(leaves.get(leaf).docBase);
        run(leaves.get(leaf).reader().getLiveDocs());
      }
    }
  }

  private boolean open(Token[] all, int leaf) throws IOException {
    TermsEnum dictionary = null;
    int count = 0;
    tokens = new Token[all.length];
    for (Token token : all) {
      if (token.entry.states[leaf] != null) {
        dictionary = dictionary == null ? terms.dictionary(leaf) : dictionary;
        token.postings = ImpactTerms.postings(dictionary, token.entry, leaf);
        token.doc = token.postings.nextDoc();
        token.bound = token.weight * token.entry.largest[leaf];
        tokens[count++] = token;
      }
    }
    tokens = Arrays.copyOf(tokens, count);
    Arrays.sort(tokens, (a, b) -> Float.compare(a.bound, b.bound));
    before = new double[count + 1];
    for (int i = 0; i < count; i++) {
      before[i + 1] = before[i] + tokens[i].bound * SLACK;
    }
    return count > 0;
  }

  private void run(Bits live) throws IOException {
    int first = 0; // tokens before this one cannot make a hit by themselves
    while (true) {
      while (first < tokens.length && before[first + 1] < best.least()) {
        first++;
      }
      int start = DocIdSetIterator.NO_MORE_DOCS;
      for (int i = first; i < tokens.length; i++) {
        start = Math.min(start, tokens[i].doc);
      }
      if (start == DocIdSetIterator.NO_MORE_DOCS) {
        return;
      }
      int end = (int) Math.min((long) start + WINDOW, DocIdSetIterator.NO_MORE_DOCS);
      for (int i = first; i < tokens.length; i++) {
        add(tokens[i], start, end);
      }
      int count = gather(start, before[first], live);
      for (int i = first - 1; i >= 0 && count > 0; i--) {
        count = ask(tokens[i], before[i + 1], count);
      }
      for (int i = 0; i < count; i++) {
        best.offer(docs[i], (float) partial[i]);
      }
    }
  }

  /** Adds a token's part to the sums of a window. */
  private void add(Token token, int start, int end) throws IOException {
    PostingsEnum postings = token.postings;
    float weight = token.weight;
    int doc = token.doc;
    while (doc < end) {
      int at = doc - start;
      sums[at] += weight * postings.freq();
      found[at >> 6] |= 1L << at;
      doc = postings.nextDoc();
    }
    token.doc = doc;
  }

  /** Takes the documents of a window that may be hits yet, and clears it. */
  private int gather(int start, double rest, Bits live) {
    int count = 0;
    double least = best.least() - rest;
    for (int word = 0; word < found.length; word++) {
      for (long bits = found[word]; bits != 0; bits &= bits - 1) {
        int at = (word << 6) + Long.numberOfTrailingZeros(bits);
        double sum = sums[at];
        sums[at] = 0;
        if (sum >= least && (live == null || live.get(start + at))) {
          docs[count] = start + at;
          partial[count++] = sum;
        }
      }
      found[word] = 0;
    }
    return count;
  }

  /** Adds a token's part to those of the documents that it can make hits; keeps no others. */
  private int ask(Token token, double rest, int count) throws IOException {
    PostingsEnum postings = token.postings;
    int kept = 0;
    double least = best.least() - rest;
    for (int i = 0; i < count; i++) {
      int doc = docs[i];
      double sum = partial[i];
      if (sum >= least) {
        if (token.doc < doc) {
          token.doc = postings.advance(doc);
        }
        if (token.doc == doc) {
          sum += token.weight * postings.freq();
        }
        docs[kept] = doc;
        partial[kept++] = sum;
      }
    }
    return kept;
  }
}
