"""The first flow: collectors return families, readers pull snapshots, exposition turns them into bytes."""
